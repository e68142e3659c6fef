//! The back half of a writer: compresses frames, fills packs, uploads them, and then lists them in index segments.

use std::{mem, sync::Arc, thread};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, channel::mpsc};
use tokio::task::JoinSet;

use crate::{
    Digest, Result,
    frame::{CompressedFrame, Compressors, FrameKind, RawFrame},
    index::Segment,
    pack::{FrameEntry, PackBuilder, Salt, SealedPack},
    pool::BufferPool,
    store::ObjectKind,
    sync,
    vault::Shared,
};

/// Packs that are on their way to the store at once.
const UPLOADS_AT_ONCE: usize = 2;

/// Chunks after which an index segment is written, so that a backup that dies has not worked in vain.
const SEGMENT_CHUNKS: usize = 64 << 10;

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
    stored_bytes: u64,
}

impl Packer {
    pub(super) fn new(shared: Arc<Shared>, frame_buffers: BufferPool) -> Self {
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
            stored_bytes: 0,
        }
    }

    /// Bytes put into packs so far.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Packs frames until the other end hangs up.
    pub(super) async fn run(&mut self, frames: mpsc::Receiver<RawFrame>) -> Result<()> {
        let at_once = thread::available_parallelism().map_or(1, usize::from).min(COMPRESSORS_MAX) + 1;
        let compressors = Arc::clone(&self.compressors);
        let compress = move |frame| {
            let compressors = Arc::clone(&compressors);
            async move { tokio::task::spawn_blocking(move || compressors.compress(frame)).await? }
        };
        let mut compressed = frames.map(compress).buffered(at_once);
        while let Some(frame) = compressed.try_next().await? {
            self.push(frame).await?;
        }
        Ok(())
    }

    /// Makes everything that was pushed durable, and lists it in the index.
    pub(super) async fn flush(&mut self) -> Result<()> {
        for pack in [self.data.take(), self.tree.take()].into_iter().flatten() {
            self.upload(pack.finish()).await?;
        }
        while !self.uploads.is_empty() {
            self.finish_upload().await?;
        }
        self.write_segment().await
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
        while self.uploads.len() >= UPLOADS_AT_ONCE {
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
        if self.unlisted.chunks.len() >= SEGMENT_CHUNKS { self.write_segment().await } else { Ok(()) }
    }

    async fn write_segment(&mut self) -> Result<()> {
        let mut segment = mem::take(&mut self.unlisted);
        if segment.chunks.is_empty() {
            return Ok(());
        }
        segment.sort();
        let bytes = segment.encode(&self.shared.keys, env::random(&*self.shared.env.entropy));
        let digest = self.shared.store.put(ObjectKind::IndexSegment, bytes).await?;
        sync::write(&self.shared.index).add(digest, segment);
        Ok(())
    }
}
