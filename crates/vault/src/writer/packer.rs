//! The back half of a writer: compresses frames, fills packs, uploads them, and then lists them in index segments.

use std::{mem, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, channel::mpsc};
use tokio::task::JoinSet;

use super::commit::{robbed, still_there};
use crate::{
    Digest, Result,
    frame::{CompressedFrame, Compressors, FrameKind, RawFrame},
    index::Segment,
    log::{Appended, Change, Sequence, State},
    pack::{FrameEntry, PackBuilder, Salt, SealedPack},
    pool::BufferPool,
    store::ObjectKind,
    vault::Shared,
};

/// Packs that are on their way to a store at once: its answers take long, compared with filling the next pack.
const UPLOADS_AT_ONCE: usize = 2;

/// The same where the store is this host's own disk.
const LOCAL_UPLOADS_AT_ONCE: usize = 1;

/// The most frames that are compressed at once, whatever the number of processors: each takes 2 MiB.
const COMPRESSORS_MAX: usize = 8;

struct Uploaded {
    digest: Digest,
    salt: Salt,
    frames: Vec<FrameEntry>,
}

/// Fills and uploads packs.
pub(super) struct Packer {
    shared: Arc<Shared>,
    compressors: Arc<Compressors>,
    pack_buffers: BufferPool,
    data: Option<PackBuilder>,
    tree: Option<PackBuilder>,
    uploads: JoinSet<Result<Uploaded>>,
    /// Packs that are in the store, but in no index segment yet.
    unlisted: Segment,
    /// Index segments that are in the store, but not in the log yet, and the packs in them.
    segments: Vec<Digest>,
    packs: Vec<Digest>,
    /// Index segments that the log names already.
    loose: Vec<Digest>,
    /// The vault when the writer was started.
    base: Arc<State>,
    /// The last collection that is known to have left the packs alone.
    collected: Sequence,
    stored_bytes: u64,
    /// The segments go into the log with a collection, not ahead of a commit.
    is_repacking: bool,
}

impl Packer {
    pub(super) fn new(shared: Arc<Shared>, frame_buffers: BufferPool, base: Arc<State>) -> Self {
        let config = &shared.config;
        let compressors = Arc::new(Compressors::new(config.compression_level, frame_buffers));
        let pack_buffers = BufferPool::of_capacity((config.pack_bytes + config.data_frame_bytes) as usize);
        Self {
            shared,
            compressors,
            pack_buffers,
            data: None,
            tree: None,
            uploads: JoinSet::new(),
            unlisted: Segment::default(),
            segments: Vec::new(),
            packs: Vec::new(),
            loose: Vec::new(),
            collected: base.body.collected,
            base,
            stored_bytes: 0,
            is_repacking: false,
        }
    }

    /// One whose segments stay out of the log until a collection names them.
    pub(super) fn for_repacking(shared: Arc<Shared>, frame_buffers: BufferPool) -> Self {
        Self { is_repacking: true, ..Self::new(shared, frame_buffers, Arc::new(State::empty())) }
    }

    /// Bytes put into packs so far.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Packs frames until the other end hangs up.
    pub(super) async fn run(&mut self, frames: mpsc::Receiver<RawFrame>) -> Result<()> {
        let threads = self.shared.env.threads;
        let at_once = threads.parallelism().min(COMPRESSORS_MAX) + 1;
        let compressors = Arc::clone(&self.compressors);
        let compress = move |frame| {
            let compressors = Arc::clone(&compressors);
            async move { threads.run(move || compressors.compress(frame)).await? }
        };
        let mut compressed = frames.map(compress).buffered(at_once);
        while let Some(frame) = compressed.try_next().await? {
            self.push(frame).await?;
        }
        Ok(())
    }

    /// Makes everything that was pushed durable, index segments and all. They are not in the log yet.
    pub(super) async fn flush(&mut self) -> Result<()> {
        for pack in [self.data.take(), self.tree.take()].into_iter().flatten() {
            self.upload(pack.finish()).await?;
        }
        while !self.uploads.is_empty() {
            self.finish_upload().await?;
        }
        self.write_segment().await
    }

    /// Index segments that the next entry of the log has to name.
    pub(super) fn unlisted_segments(&self) -> &[Digest] {
        &self.segments
    }

    /// Index segments that an entry of the log names already.
    pub(super) fn loose_segments(&self) -> &[Digest] {
        &self.loose
    }

    /// Makes the segments part of the vault's index, ahead of a commit: whoever comes after may use what is in them.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Overtaken`] when a collection took a pack for what a dead writer left behind.
    pub(super) async fn list_segments(&mut self, state: &State) -> Result<()> {
        let mut state = Arc::new(state.clone());
        while !self.segments.is_empty() {
            self.shared.log.check_follows(&state, &self.base).await?;
            if state.body.collected > self.collected {
                let packs = self.packs.iter().map(|pack| (ObjectKind::Pack, pack));
                let segments = self.segments.iter().map(|segment| (ObjectKind::IndexSegment, segment));
                for (kind, object) in packs.chain(segments) {
                    if !still_there(&self.shared, &state, kind, object).await? {
                        return Err(robbed());
                    }
                }
                // Packs that are on their way, or in no segment yet, are still to be looked for.
                if self.uploads.is_empty() && self.unlisted.packs.is_empty() {
                    self.collected = state.body.collected;
                }
            }
            let change = Change::Index { segments: self.segments.clone() };
            match self.shared.log.try_append(&state, change).await? {
                Appended::Done(state) => {
                    self.loose.append(&mut self.segments);
                    self.packs.clear();
                    self.shared.follow(&state).await?;
                }
                Appended::Overtaken => state = self.shared.log.refresh().await?,
            }
        }
        Ok(())
    }

    async fn push(&mut self, frame: CompressedFrame) -> Result<()> {
        let pack_bytes = self.shared.config.pack_bytes as usize;
        let slot = match frame.kind {
            FrameKind::Data => &mut self.data,
            FrameKind::Tree => &mut self.tree,
        };
        let pack = match slot {
            Some(pack) => pack,
            None => {
                let random = env::random(&*self.shared.env.entropy);
                let buffer = self.pack_buffers.take();
                slot.insert(PackBuilder::new(&self.shared.keys, frame.kind, random, buffer)?)
            }
        };
        self.stored_bytes += pack.push(frame);
        if pack.size_bytes() < pack_bytes {
            return Ok(());
        }
        match slot.take() {
            Some(pack) => self.upload(pack.finish()).await,
            None => Ok(()),
        }
    }

    async fn upload(&mut self, pack: SealedPack) -> Result<()> {
        let at_once = if self.shared.store.is_local() { LOCAL_UPLOADS_AT_ONCE } else { UPLOADS_AT_ONCE };
        while self.uploads.len() >= at_once {
            self.finish_upload().await?;
        }
        let shared = Arc::clone(&self.shared);
        self.uploads.spawn(async move {
            let SealedPack { salt, bytes, frames } = pack;
            let digest = shared.store.put(ObjectKind::Pack, Bytes::from_owner(bytes)).await?;
            Ok(Uploaded { digest, salt, frames })
        });
        Ok(())
    }

    async fn finish_upload(&mut self) -> Result<()> {
        if let Some(uploaded) = self.uploads.join_next().await {
            let Uploaded { digest, salt, frames } = uploaded??;
            self.unlisted.add_pack(digest, salt, &frames);
        }
        if self.unlisted.chunks.len() < self.shared.segment_chunks {
            return Ok(());
        }
        self.write_segment().await?;
        if self.is_repacking {
            return Ok(());
        }
        let state = self.shared.log.refresh().await?;
        self.list_segments(&state).await
    }

    async fn write_segment(&mut self) -> Result<()> {
        let mut segment = mem::take(&mut self.unlisted);
        if segment.chunks.is_empty() {
            return Ok(());
        }
        self.segments.push(self.shared.store_segment(&mut segment).await?);
        self.packs.extend(segment.packs.iter().map(|pack| pack.digest));
        Ok(())
    }
}
