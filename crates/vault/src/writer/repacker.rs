//! Copies chunks that are in the vault into new packs.

use std::sync::Arc;

use futures::{SinkExt, StreamExt, channel::mpsc, future, stream};

use super::{FRAMES_WAITING, collector::Collector, packer::Packer};
use crate::{
    ChunkId, Digest, Error, Result,
    frame::{FrameKind, RawFrame},
    pool::BufferPool,
    vault::Shared,
};

/// Chunks that are read ahead, of about 64 KiB each.
const CHUNKS_AHEAD: usize = 16;

/// Fills new packs with chunks of old ones.
pub(crate) struct Repacker {
    shared: Arc<Shared>,
    collector: Collector,
    packer: Packer,
}

/// What became of the chunks.
#[derive(Debug, Default)]
pub(crate) struct Repacked {
    /// Index segments of the new packs. They are in the store, and not in the log.
    pub(crate) segments: Vec<Digest>,
    /// Chunks that cannot be read, wherever they are.
    pub(crate) lost: Vec<ChunkId>,
    pub(crate) stored_bytes: u64,
}

impl Repacker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let config = &shared.config;
        let buffers = BufferPool::of_capacity(config.data_frame_bytes.max(config.tree_frame_bytes) as usize);
        let collector = Collector::new(Arc::clone(&shared), buffers.clone());
        let packer = Packer::for_repacking(Arc::clone(&shared), buffers);
        Self { shared, collector, packer }
    }

    /// Copies the chunks, in this order. All copies are durable when it returns.
    pub(crate) async fn copy(self, chunks: Vec<(FrameKind, ChunkId)>) -> Result<Repacked> {
        let Self { shared, mut collector, mut packer } = self;
        let mut repacked = Repacked::default();
        let (frames, frames_to_pack) = mpsc::channel(FRAMES_WAITING);
        let reading = read(&shared, chunks, &mut collector, frames, &mut repacked.lost);
        future::try_join(reading, packer.run(frames_to_pack)).await?;
        packer.flush().await?;
        repacked.segments = packer.unlisted_segments().to_vec();
        repacked.stored_bytes = packer.stored_bytes();
        Ok(repacked)
    }
}

async fn read(
    shared: &Arc<Shared>,
    chunks: Vec<(FrameKind, ChunkId)>,
    collector: &mut Collector,
    mut frames: mpsc::Sender<RawFrame>,
    lost: &mut Vec<ChunkId>,
) -> Result<()> {
    let reads = stream::iter(chunks)
        .map(|(kind, id)| async move { (kind, id, shared.read_chunk(kind, id, None).await) });
    let mut reads = reads.buffered(CHUNKS_AHEAD).boxed();
    loop {
        let next = reads.next().await;
        let is_last = next.is_none();
        match next {
            Some((kind, id, Ok(bytes))) => collector.put_again(kind, id, &bytes),
            Some((_, id, Err(error))) if error.is_damage() => lost.push(id),
            Some((_, _, Err(error))) => return Err(error),
            None => collector.close_frames(),
        }
        for frame in collector.take_full_frames() {
            // The packer hangs up only when it failed, and then its error is the one that counts.
            frames.send(frame).await.map_err(|_| Error::cancelled())?;
        }
        if is_last {
            return Ok(());
        }
    }
}
