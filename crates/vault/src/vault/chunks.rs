//! Reading chunks: find the frame, fetch it once, check every chunk that is taken out of it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::Shared;
use crate::{
    ChunkId, Error, ErrorKind, Result,
    frame::FrameKind,
    index::{ChunkPlace, FramePlace},
    keys::Keys,
    lru::Lru,
    pack::{self, Salt},
    seal::{Role, Seal},
    sync,
};

/// Expanded frames that are kept, of about 1 MiB each.
const FRAMES_KEPT: usize = 16;

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
        sync::lock(&self.0).put((kind, *salt), Arc::clone(&seal));
        Ok(seal)
    }
}

/// Expanded frames, each fetched once however many ask for it at the same time.
pub(crate) struct FrameCache(Mutex<Lru<u32, Arc<OnceCell<Bytes>>>>);

impl FrameCache {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Lru::new(FRAMES_KEPT)))
    }

    fn cell(&self, number: u32) -> Arc<OnceCell<Bytes>> {
        let mut cells = sync::lock(&self.0);
        if let Some(cell) = cells.get(&number) {
            return Arc::clone(cell);
        }
        let cell = Arc::<OnceCell<Bytes>>::default();
        cells.put(number, Arc::clone(&cell));
        cell
    }
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
                self.read_frame(&frame).await
            } else {
                Err(Error::corrupt(format!("chunk {id} is listed in pack {} of another kind", frame.pack)))
            };
            let chunk = expanded
                .and_then(|bytes| self.chunk_of_frame(kind, id, length_bytes, &place, &frame, &bytes));
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

    /// A frame's expanded bytes, in which nothing has been checked against chunk ids yet.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when its pack is gone: what was in it may be in another by now.
    pub(crate) async fn read_frame(self: &Arc<Self>, frame: &FramePlace) -> Result<Bytes> {
        let cell = self.frames.cell(frame.number);
        cell.get_or_try_init(|| self.fetch_frame(frame)).await.cloned()
    }

    /// Takes a chunk out of its expanded frame and checks it.
    pub(crate) fn chunk_of_frame(
        &self,
        kind: FrameKind,
        id: ChunkId,
        length_bytes: Option<u32>,
        place: &ChunkPlace,
        frame: &FramePlace,
        expanded: &Bytes,
    ) -> Result<Bytes> {
        let start = place.offset_bytes as usize;
        let end = start + place.length_bytes as usize;
        let sound = end <= expanded.len()
            && length_bytes.is_none_or(|length_bytes| length_bytes == place.length_bytes)
            && self.keys.chunk_id(kind, &expanded[start..end]) == id;
        if sound {
            Ok(expanded.slice(start..end))
        } else {
            Err(Error::corrupt(format!(
                "chunk {id} in pack {} of {} is damaged",
                frame.pack,
                self.store.place()
            )))
        }
    }

    async fn fetch_frame(self: &Arc<Self>, frame: &FramePlace) -> Result<Bytes> {
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
            shared.decompressors.expand(&frame.head, opened).map_err(|error| damaged().with_source(error))
        });
        expanded.await?
    }
}
