//! Deduplication, and gathering what is new into frames. Synchronous: full frames wait until they are taken away.

use std::{collections::HashSet, mem, sync::Arc};

use super::region::CutRegion;
use crate::{
    ChunkId,
    frame::{FrameKind, RawFrame},
    pool::BufferPool,
    sync,
    tree::{ChunkRef, Leaf, NodeSink},
    vault::Shared,
};

/// Chunks on their way that are remembered before those that have reached the index are forgotten.
const ON_THE_WAY_MAX: usize = 64 << 10;

/// Decides what is stored.
pub(super) struct Collector {
    shared: Arc<Shared>,
    /// Chunks of this writer that may not be in the index yet.
    on_the_way: HashSet<ChunkId>,
    forget_at: usize,
    data: RawFrame,
    tree: RawFrame,
    full: Vec<RawFrame>,
    buffers: BufferPool,
    new_chunks: u64,
}

impl Collector {
    pub(super) fn new(shared: Arc<Shared>, buffers: BufferPool) -> Self {
        Self {
            shared,
            on_the_way: HashSet::new(),
            forget_at: ON_THE_WAY_MAX,
            data: RawFrame::new(FrameKind::Data, &buffers),
            tree: RawFrame::new(FrameKind::Tree, &buffers),
            full: Vec::new(),
            buffers,
            new_chunks: 0,
        }
    }

    /// Whether a chunk is in the vault, or on its way.
    pub(super) fn holds(&self, id: &ChunkId) -> bool {
        self.on_the_way.contains(id) || sync::read(&self.shared.index).holds(id)
    }

    /// Starts counting for another disk.
    pub(super) fn begin(&mut self) {
        self.new_chunks = 0;
    }

    /// Chunks since [`Collector::begin`] that the vault did not have.
    pub(super) fn new_chunks(&self) -> u64 {
        self.new_chunks
    }

    /// Takes what is new of a region, and returns the region's leaf.
    pub(super) fn put_region(&mut self, cut: &CutRegion) -> Leaf {
        for (chunk, start) in &cut.read {
            self.put(FrameKind::Data, chunk.id, cut.bytes(chunk, *start));
        }
        let mut chunks: Vec<ChunkRef> =
            cut.read.iter().map(|(chunk, _)| *chunk).chain(cut.kept.iter().copied()).collect();
        chunks.sort_unstable_by_key(|chunk| chunk.offset_bytes);
        Leaf { chunks }
    }

    /// Ends the frames that are being filled.
    pub(super) fn close_frames(&mut self) {
        for (kind, frame) in [(FrameKind::Data, &mut self.data), (FrameKind::Tree, &mut self.tree)] {
            if !frame.chunks.is_empty() {
                self.full.push(mem::replace(frame, RawFrame::new(kind, &self.buffers)));
            }
        }
    }

    pub(super) fn take_full_frames(&mut self) -> Vec<RawFrame> {
        mem::take(&mut self.full)
    }

    fn put(&mut self, kind: FrameKind, id: ChunkId, bytes: &[u8]) {
        if self.holds(&id) {
            return;
        }
        if self.on_the_way.len() >= self.forget_at {
            let index = sync::read(&self.shared.index);
            self.on_the_way.retain(|id| !index.holds(id));
            self.forget_at = self.on_the_way.len() + ON_THE_WAY_MAX;
        }
        self.on_the_way.insert(id);
        self.new_chunks += 1;
        self.put_again(kind, id, bytes);
    }

    /// Takes a chunk, whether the vault has it or not.
    pub(super) fn put_again(&mut self, kind: FrameKind, id: ChunkId, bytes: &[u8]) {
        let (frame, full_bytes) = match kind {
            FrameKind::Data => (&mut self.data, self.shared.config.data_frame_bytes),
            FrameKind::Tree => (&mut self.tree, self.shared.config.tree_frame_bytes),
        };
        if !frame.chunks.is_empty() && frame.bytes.len() + bytes.len() > full_bytes as usize {
            self.full.push(mem::replace(frame, RawFrame::new(kind, &self.buffers)));
        }
        frame.push(id, bytes);
    }
}

impl NodeSink for Collector {
    fn put_node(&mut self, bytes: &[u8]) -> ChunkId {
        let id = self.shared.keys.chunk_id(FrameKind::Tree, bytes);
        self.put(FrameKind::Tree, id, bytes);
        id
    }
}
