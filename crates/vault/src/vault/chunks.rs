//! Reading chunks: find the frame, fetch it once, check every chunk that is taken out of it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::Shared;
use crate::{
    ChunkId, Error, ErrorKind, FrameCache, Result,
    frame::{Expanded, FrameKey, FrameKind, Wanted},
    index::{ChunkPlace, FramePlace},
    keys::Keys,
    lru::Lru,
    pack::{self, Salt},
    seal::{Role, Seal},
    sync,
};

/// Seals of packs that are kept: reading a pack frame by frame agrees on its key once.
const SEALS_KEPT: usize = 64;

/// The seals of packs that were read last, by what they follow from.
pub(crate) struct SealCache(Mutex<Lru<(FrameKind, Salt), Arc<Seal>>>);

impl SealCache {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Lru::new(SEALS_KEPT)))
    }

    /// The seal of a pack.
    ///
    /// # Errors
    /// As [`pack::seal`].
    fn seal(&self, keys: &Keys, kind: FrameKind, salt: &Salt) -> Result<Arc<Seal>> {
        if let Some(seal) = sync::lock(&self.0).get(&(kind, *salt)) {
            return Ok(Arc::clone(seal));
        }
        let seal = Arc::new(pack::seal(keys, kind, salt)?);
        sync::lock(&self.0).put((kind, *salt), Arc::clone(&seal), 1);
        Ok(seal)
    }
}

/// How a chunk is read.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    pub(crate) frames: &'a FrameCache,
    /// Whether it is all that is read: then the rest of its frame need not be expanded.
    pub(crate) is_alone: bool,
}

impl Shared {
    /// The bytes of a chunk, checked against its id. `length_bytes` is what the asker expects, where it expects any. A
    /// pack that turns out to be damaged is marked as such, and the chunk taken from another that has it too.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming the chunk and the pack; [`ErrorKind::WrongKey`] for data when the keys can only write.
    pub(crate) async fn read_chunk(
        self: &Arc<Self>,
        kind: FrameKind,
        id: ChunkId,
        length_bytes: Option<u32>,
    ) -> Result<Bytes> {
        let frames = match kind {
            FrameKind::Data => &self.data_frames,
            FrameKind::Tree => &self.tree_frames,
        };
        self.read_chunk_by(Way { frames, is_alone: false }, kind, id, length_bytes).await
    }

    /// As [`Shared::read_chunk`], by this way.
    pub(crate) async fn read_chunk_by(
        self: &Arc<Self>,
        way: Way<'_>,
        kind: FrameKind,
        id: ChunkId,
        length_bytes: Option<u32>,
    ) -> Result<Bytes> {
        let mut looked_again = false;
        loop {
            let (place, frame) = match self.find_chunk(&id) {
                // Another user of the index may have followed to a state that was collected before it was read.
                Err(_) if !looked_again => {
                    looked_again = true;
                    self.refresh_to_read().await?;
                    continue;
                }
                found => found?,
            };
            let expanded = if frame.head.kind == kind {
                let wanted = match way.is_alone {
                    true => Wanted::UpTo(place.offset_bytes.saturating_add(place.length_bytes)),
                    false => Wanted::Whole,
                };
                self.read_frame(way.frames, &frame, wanted).await
            } else {
                Err(Error::corrupt(format!("chunk {id} is listed in pack {} of another kind", frame.pack)))
            };
            let chunk = expanded
                .and_then(|expanded| self.chunk_of_frame(kind, id, length_bytes, &place, &frame, &expanded));
            match chunk {
                // Its chunks may have been moved to another pack since the index was read.
                Err(error) if error.kind() == ErrorKind::NotFound && !looked_again => {
                    tracing::debug!(%error, "looking for the chunk again");
                    looked_again = true;
                    self.refresh_to_read().await?;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.index.mark_pack_damaged(frame.number);
                    if !self.index.holds(&id)? {
                        let context = format!("chunk {id} is lost: {error}");
                        return Err(Error::corrupt(context).with_source(error));
                    }
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    self.index.mark_pack_damaged(frame.number);
                    if !self.index.holds(&id)? {
                        return Err(error);
                    }
                    tracing::warn!(%error, "the chunk is taken from another pack");
                }
                chunk => return chunk,
            }
        }
    }

    /// Where a chunk is.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is nowhere, and whatever happens to the index directory.
    pub(crate) fn find_chunk(&self, id: &ChunkId) -> Result<(ChunkPlace, FramePlace)> {
        self.index.find(id)?.ok_or_else(|| {
            Error::corrupt(format!("chunk {id} is in no index segment of {}", self.store.place()))
        })
    }

    /// An expanded frame or its start, in which nothing has been checked against chunk ids yet.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when its pack is gone: what was in it may be in another by now.
    pub(crate) async fn read_frame(
        self: &Arc<Self>,
        frames: &FrameCache,
        frame: &FramePlace,
        wanted: Wanted,
    ) -> Result<Arc<Expanded>> {
        let (vault, pack, number) = (self.config.vault_id, frame.pack, frame.number_in_pack);
        let key = FrameKey { vault, pack, number };
        frames.get_or_fetch(key, &frame.head, wanted, |wanted| self.fetch_frame(frame, wanted)).await
    }

    /// Takes a chunk out of its expanded frame and checks it.
    pub(crate) fn chunk_of_frame(
        &self,
        kind: FrameKind,
        id: ChunkId,
        length_bytes: Option<u32>,
        place: &ChunkPlace,
        frame: &FramePlace,
        expanded: &Expanded,
    ) -> Result<Bytes> {
        let chunk = expanded.chunk(id, place, |bytes| self.keys.chunk_id(kind, bytes) == id);
        let is_as_long = length_bytes.is_none_or(|length_bytes| length_bytes == place.length_bytes);
        chunk.filter(|_| is_as_long).ok_or_else(|| {
            let place = self.store.place();
            Error::corrupt(format!("chunk {id} in pack {} of {place} is damaged", frame.pack))
        })
    }

    async fn fetch_frame(self: &Arc<Self>, frame: &FramePlace, wanted: Wanted) -> Result<Bytes> {
        let start = u64::from(frame.offset_bytes);
        let range = start..start + u64::from(frame.head.stored_bytes);
        let missing = |error: Error| match error.kind() {
            ErrorKind::NotFound => {
                let context = format!("pack {} is missing", frame.pack);
                Error::new(ErrorKind::NotFound, context).with_source(error)
            }
            _ => error,
        };
        let sealed = self.store.get_pack_range(&frame.pack, range, &self.sealed_frames).await;
        let mut sealed = sealed.map_err(missing)?;
        let (shared, frame) = (Arc::clone(self), *frame);
        let expanded = self.env.threads.run(move || {
            let seal = shared.seals.seal(&shared.keys, frame.head.kind, &frame.salt)?;
            let number = u64::from(frame.number_in_pack);
            let damaged = || Error::corrupt(format!("frame {number} of pack {} is damaged", frame.pack));
            let opened = seal.open_within(Role::Frame, number, &mut sealed).map_err(|_| damaged())?;
            let expanded = match wanted {
                Wanted::Whole => shared.decompressors.expand(&frame.head, opened),
                Wanted::UpTo(end_bytes) => shared.decompressors.expand_start(&frame.head, opened, end_bytes),
            };
            expanded.map_err(|error| damaged().with_source(error))
        });
        expanded.await?
    }
}
