//! Reading one region and cutting it into chunks.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use image::{ByteRange, DiskImage, coalesce};

use super::visit::Visit;
use crate::{
    ChunkId, Error, ErrorKind, Result,
    chunking::Chunker,
    frame::FrameKind,
    pool::{Buffer, BufferPool},
    tree::{ChunkRef, Leaf, REGION_BYTES, TreeReader},
    vault::Shared,
};

/// Reads within one region that are under way at once.
const READS_AT_ONCE: usize = 4;

/// Reads and cuts regions.
pub(super) struct RegionCutter {
    shared: Arc<Shared>,
    chunker: Chunker,
    buffers: BufferPool,
}

/// A region, cut.
pub(super) struct CutRegion {
    pub(super) region: u64,
    /// The region's last byte on the disk, plus one.
    pub(super) end_bytes: u64,
    /// Chunks taken from the parent unread.
    pub(super) kept: Vec<ChunkRef>,
    /// Chunks whose bytes are in the buffer, and where.
    pub(super) read: Vec<(ChunkRef, usize)>,
    pub(super) buffer: Buffer,
    pub(super) read_bytes: u64,
}

impl CutRegion {
    /// The bytes of a chunk that was read.
    pub(super) fn bytes(&self, chunk: &ChunkRef, start: usize) -> &[u8] {
        &self.buffer[start..start + chunk.length_bytes as usize]
    }
}

/// What to do about a region of which a parent is known.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// The parent's chunks that cannot have changed.
    kept: Vec<ChunkRef>,
    /// The parent's chunks that may have; compared with what is read.
    suspects: Vec<ChunkRef>,
    /// What to read, on the disk.
    reads: Vec<ByteRange>,
}

impl Plan {
    /// Reads as little as the changes allow: the changes themselves, and the whole of every old chunk that they touch,
    /// so that whatever is not read is made of whole old chunks.
    /// Chunks that the vault has lost are read again.
    fn new(
        region: u64,
        parent: &Leaf,
        data: &[ByteRange],
        changed: Option<&[ByteRange]>,
        lost: impl Fn(&ChunkId) -> Result<bool>,
    ) -> Result<Self> {
        let Some(changed) = changed else {
            return Ok(Self { kept: Vec::new(), suspects: parent.chunks.clone(), reads: data.to_vec() });
        };
        let on_disk = |chunk: &ChunkRef| {
            ByteRange::new(region * REGION_BYTES + u64::from(chunk.offset_bytes), chunk.length_bytes.into())
        };
        let touched = |chunk: &ChunkRef| {
            let range = on_disk(chunk);
            let first = changed.partition_point(|change| change.end_bytes() <= range.offset_bytes);
            changed.get(first).is_some_and(|change| change.offset_bytes < range.end_bytes())
        };
        let (mut suspects, mut kept) = (Vec::new(), Vec::new());
        for chunk in &parent.chunks {
            let is_suspect = touched(chunk) || lost(&chunk.id)?;
            if is_suspect { &mut suspects } else { &mut kept }.push(*chunk);
        }
        let dirty = coalesce(changed.iter().copied().chain(suspects.iter().map(on_disk)).collect());
        Ok(Self { kept, suspects, reads: intersect(&dirty, data) })
    }
}

impl RegionCutter {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let chunker = Chunker::new(shared.keys.cut_key(), shared.config.chunking);
        Self { shared, chunker, buffers: BufferPool::of_capacity(REGION_BYTES as usize) }
    }

    /// Reads what has to be read of a region, and cuts it on a blocking thread.
    pub(super) async fn read_and_cut(
        self: &Arc<Self>,
        image: &Arc<dyn DiskImage>,
        parent: Option<&TreeReader>,
        visit: Visit,
    ) -> Result<CutRegion> {
        let Visit { region, data, mut changed } = visit;
        let leaf = match parent {
            Some(parent) => parent.leaf(region).await,
            None => Ok(Arc::default()),
        };
        let leaf = match leaf {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::warn!(region, %error, "the parent's map is damaged here; the region is read whole");
                changed = None;
                Arc::default()
            }
            leaf => leaf?,
        };
        let lost = |id: &ChunkId| Ok(!self.shared.index.holds(id)?);
        let plan = Plan::new(region, &leaf, &data, changed.as_deref(), lost)?;
        let mut buffer = self.buffers.take();
        let needed: u64 = plan.reads.iter().map(|range| range.length_bytes).sum();
        // Grown as far as it is used, and left as it was: not all regions are full.
        if (buffer.len() as u64) < needed {
            buffer.resize(needed as usize, 0);
        }
        read_ranges(image, &plan.reads, &mut buffer).await?;
        let cutter = Arc::clone(self);
        let end_bytes = (region + 1).saturating_mul(REGION_BYTES).min(image.size_bytes());
        let cut = self.shared.env.threads.run(move || cutter.cut(region, end_bytes, plan, buffer));
        Ok(cut.await?)
    }

    fn cut(&self, region: u64, end_bytes: u64, plan: Plan, buffer: Buffer) -> CutRegion {
        let mut read = Vec::new();
        let mut start = 0;
        for range in &plan.reads {
            let bytes = &buffer[start..start + range.length_bytes as usize];
            let offset_bytes = (range.offset_bytes - region * REGION_BYTES) as u32;
            for chunk in self.cut_run(offset_bytes, bytes, &plan.suspects) {
                read.push((chunk, start + (chunk.offset_bytes - offset_bytes) as usize));
            }
            start += bytes.len();
        }
        CutRegion { region, end_bytes, kept: plan.kept, read, buffer, read_bytes: start as u64 }
    }

    /// Cuts one run of bytes, along the old cuts wherever a suspect turns out to be unchanged: cuts that wander from
    /// backup to backup would store the same bytes again.
    fn cut_run(&self, offset_bytes: u32, bytes: &[u8], suspects: &[ChunkRef]) -> Vec<ChunkRef> {
        let mut chunks = Vec::new();
        let cut_gap = |start: usize, end: usize, chunks: &mut Vec<ChunkRef>| {
            for part in self.chunker.cut(&bytes[start..end]) {
                let part = start + part.start..start + part.end;
                chunks.push(ChunkRef {
                    offset_bytes: offset_bytes + part.start as u32,
                    length_bytes: part.len() as u32,
                    id: self.shared.keys.chunk_id(FrameKind::Data, &bytes[part]),
                });
            }
        };
        let mut next = 0;
        let first = suspects.partition_point(|suspect| suspect.offset_bytes < offset_bytes);
        for suspect in suspects.iter().skip(first) {
            let start = (suspect.offset_bytes - offset_bytes) as usize;
            let Some(old) = bytes.get(start..start + suspect.length_bytes as usize) else { break };
            if self.shared.keys.chunk_id(FrameKind::Data, old) == suspect.id {
                cut_gap(next, start, &mut chunks);
                chunks.push(*suspect);
                next = start + old.len();
            }
        }
        cut_gap(next, bytes.len(), &mut chunks);
        chunks
    }
}

/// Fills the buffer with the ranges, one after the other.
async fn read_ranges(image: &Arc<dyn DiskImage>, ranges: &[ByteRange], buffer: &mut [u8]) -> Result<()> {
    let mut rest = buffer;
    let mut reads = Vec::with_capacity(ranges.len());
    for range in ranges {
        let (part, later) = rest.split_at_mut(range.length_bytes as usize);
        rest = later;
        reads.push(async move {
            let read = image.read_at(range.offset_bytes, part).await;
            read.map_err(|source| {
                Error::disk(format!("the disk cannot be read at {}", range.offset_bytes), source)
            })
        });
    }
    stream::iter(reads).buffer_unordered(READS_AT_ONCE).try_collect().await
}

/// What two sorted lists of disjoint ranges have in common.
fn intersect(a: &[ByteRange], b: &[ByteRange]) -> Vec<ByteRange> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut common = Vec::new();
    while let (Some(left), Some(right)) = (a.peek(), b.peek()) {
        let both = left.intersection(**right);
        if !both.is_empty() {
            common.push(both);
        }
        if left.end_bytes() < right.end_bytes() {
            a.next()
        } else {
            b.next()
        };
    }
    common
}
