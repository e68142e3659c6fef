//! Writing a disk of a vault to a target: in the image's order, several regions at once, every chunk checked.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use image::{ByteRange, DiskTarget};

use crate::{
    DiskMap, Error, ErrorKind, Monitor, Result, Vault,
    frame::{FrameKind, Wanted},
    index::{ChunkPlace, FramePlace},
    pool::BufferPool,
    tree::{ChunkRef, Leaf, Located, REGION_BYTES, TreeReader},
    vault::Shared,
};

/// Regions on their way at once.
const REGIONS_AT_ONCE: usize = 3;

/// Frames of one region that are fetched and expanded side by side.
const FRAMES_AT_ONCE: usize = 3;

/// What a restore did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestoredDisk {
    /// Bytes of data that were written, holes not counted.
    pub written_bytes: u64,
}

impl Vault {
    /// Writes a disk to a target of the same size or larger and flushes it. Nothing is written that does not match its
    /// digest. Progress counts bytes of the disk.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] names the damaged chunk and the bytes of the disk that it holds;
    /// [`crate::ErrorKind::Disk`] when the target fails; [`crate::ErrorKind::WrongKey`] when this handle can only write,
    /// before anything is written. The target is incomplete after any error.
    pub async fn restore_disk(
        &self,
        map: &DiskMap,
        target: &dyn DiskTarget,
        monitor: &Monitor,
    ) -> Result<RestoredDisk> {
        self.shared.keys.check_can_read()?;
        if target.size_bytes() < map.size_bytes {
            let (has, needs) = (target.size_bytes(), map.size_bytes);
            return Err(Error::invalid(format!("the target has {has} bytes, and the disk needs {needs}")));
        }
        self.shared.refresh_to_read().await?;
        let restore = Restore {
            shared: Arc::clone(&self.shared),
            tree: TreeReader::new(Arc::clone(&self.shared), *map),
            target,
            buffers: BufferPool::of_capacity(REGION_BYTES as usize),
        };
        monitor.unless_cancelled(restore.run(monitor)).await
    }
}

struct Restore<'a> {
    shared: Arc<Shared>,
    tree: TreeReader,
    target: &'a dyn DiskTarget,
    buffers: BufferPool,
}

impl Restore<'_> {
    async fn run(&self, monitor: &Monitor) -> Result<RestoredDisk> {
        monitor.begin(self.tree.map().size_bytes)?;
        let parts = stream::try_unfold(0, |region| self.next_part(region));
        let restored = parts.map_ok(|part| async move {
            let (covered, written_bytes) = match part {
                Part::Hole(range) => (range, self.write_hole(range).await?),
                Part::Region(region, leaf) => {
                    (self.tree.map().region_range(region), self.write_region(region, &leaf).await?)
                }
            };
            Ok((covered.length_bytes, written_bytes))
        });
        // Boxed where the lifetimes are known: otherwise no caller can tell that the whole may move between threads.
        let mut restored = restored.try_buffer_unordered(REGIONS_AT_ONCE).boxed();
        let mut total = RestoredDisk::default();
        while let Some((covered_bytes, written_bytes)) = restored.try_next().await? {
            total.written_bytes += written_bytes;
            monitor.advance(covered_bytes)?;
        }
        let beyond = ByteRange::between(self.tree.map().size_bytes, self.target.size_bytes());
        self.write_hole(beyond).await?;
        self.target
            .flush()
            .await
            .map_err(|source| Error::disk("the restored disk cannot be made durable", source))?;
        Ok(total)
    }

    /// What comes at a region, and the region after it.
    async fn next_part(&self, region: u64) -> Result<Option<(Part, u64)>> {
        if region >= self.tree.map().region_count() {
            return Ok(None);
        }
        Ok(Some(match self.tree.locate(region).await? {
            Located::Leaf(id) => (Part::Region(region, self.tree.load_leaf(region, id).await?), region + 1),
            Located::HoleUntil(next) => {
                let start_bytes = self.tree.map().region_range(region).offset_bytes;
                let end_bytes = self.tree.map().region_range(next.saturating_sub(1)).end_bytes();
                (Part::Hole(ByteRange::between(start_bytes, end_bytes)), next)
            }
        }))
    }

    async fn write_hole(&self, range: ByteRange) -> Result<u64> {
        if !range.is_empty() && !self.target.starts_zeroed() {
            let zeroed = self.target.write_zeroes(range).await;
            zeroed.map_err(|source| {
                Error::disk(format!("zeros at {} cannot be written", range.offset_bytes), source)
            })?;
        }
        Ok(0)
    }

    /// Writes one region: its chunks gathered in a buffer first, one after the other, so that the target sees few, large
    /// writes and a sparse region takes no more memory than it has bytes.
    async fn write_region(&self, region: u64, leaf: &Leaf) -> Result<u64> {
        let range = self.tree.map().region_range(region);
        let mut buffer = self.buffers.take();
        let needed = leaf.chunks.iter().map(|chunk| chunk.length_bytes as usize).sum();
        if buffer.len() < needed {
            buffer.resize(needed, 0);
        }
        let wanted = match self.by_frame(range, leaf) {
            Err(_) => {
                self.shared.refresh().await?;
                self.by_frame(range, leaf)?
            }
            wanted => wanted?,
        };
        let mut pieces =
            stream::iter(wanted).map(|wanted| self.fetch(range, wanted)).buffer_unordered(FRAMES_AT_ONCE);
        while let Some(pieces) = pieces.try_next().await? {
            for (start, bytes) in pieces {
                buffer[start..start + bytes.len()].copy_from_slice(&bytes);
            }
        }
        let (mut next_bytes, mut start) = (0, 0);
        for run in runs(leaf) {
            let hole =
                ByteRange::between(range.offset_bytes + next_bytes, range.offset_bytes + run.offset_bytes);
            self.write_hole(hole).await?;
            let offset_bytes = range.offset_bytes + run.offset_bytes;
            let end = start + run.length_bytes as usize;
            let written = self.target.write_at(offset_bytes, &buffer[start..end]).await;
            written
                .map_err(|source| Error::disk(format!("data at {offset_bytes} cannot be written"), source))?;
            (next_bytes, start) = (run.end_bytes(), end);
        }
        self.write_hole(ByteRange::between(range.offset_bytes + next_bytes, range.end_bytes())).await?;
        Ok(start as u64)
    }

    /// The chunks of a leaf, grouped by the frame that holds them.
    fn by_frame(&self, range: ByteRange, leaf: &Leaf) -> Result<Vec<WantedFrame>> {
        let mut start = 0;
        let mut located = Vec::with_capacity(leaf.chunks.len());
        for chunk in &leaf.chunks {
            let found = self.shared.find_chunk(&chunk.id);
            let (place, frame) = found.map_err(|error| lost(range, chunk, error))?;
            located.push((frame, WantedChunk { chunk: *chunk, place, start }));
            start += chunk.length_bytes as usize;
        }
        located.sort_by_key(|(frame, wanted)| (frame.number, wanted.place.offset_bytes));
        let groups = located.chunk_by(|(a, _), (b, _)| a.number == b.number);
        Ok(groups
            .filter_map(|group| {
                let (frame, _) = *group.first()?;
                Some(WantedFrame { frame, chunks: group.iter().map(|(_, wanted)| *wanted).collect() })
            })
            .collect())
    }

    /// The wanted chunks of one frame, each with its start in the buffer; where the frame is damaged, each by itself from
    /// wherever else it may be.
    async fn fetch(&self, range: ByteRange, wanted: WantedFrame) -> Result<Vec<(usize, Bytes)>> {
        let WantedFrame { frame, chunks } = wanted;
        match self.fetch_together(frame, Arc::clone(&chunks)).await {
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {}
            fetched => return fetched,
        }
        let mut pieces = Vec::with_capacity(chunks.len());
        for WantedChunk { chunk, start, .. } in chunks.iter() {
            let read = self.shared.read_chunk(FrameKind::Data, chunk.id, Some(chunk.length_bytes)).await;
            pieces.push((*start, read.map_err(|error| lost(range, chunk, error))?));
        }
        Ok(pieces)
    }

    /// Chunks of one frame, checked on a blocking thread.
    async fn fetch_together(
        &self,
        frame: FramePlace,
        chunks: Arc<[WantedChunk]>,
    ) -> Result<Vec<(usize, Bytes)>> {
        let expanded = self.shared.read_frame(&self.shared.data_frames, &frame, Wanted::Whole).await?;
        let shared = Arc::clone(&self.shared);
        let checked = self.shared.env.threads.run(move || {
            let check = |WantedChunk { chunk, place, start }: &WantedChunk| {
                let length_bytes = Some(chunk.length_bytes);
                let bytes =
                    shared.chunk_of_frame(FrameKind::Data, chunk.id, length_bytes, place, &frame, &expanded);
                Ok((*start, bytes?))
            };
            chunks.iter().map(check).collect::<Result<Vec<_>>>()
        });
        checked.await?
    }
}

enum Part {
    Hole(ByteRange),
    Region(u64, Arc<Leaf>),
}

struct WantedFrame {
    frame: FramePlace,
    chunks: Arc<[WantedChunk]>,
}

/// A chunk, where it is in its frame, and where it goes in the region's buffer.
#[derive(Clone, Copy)]
struct WantedChunk {
    chunk: ChunkRef,
    place: ChunkPlace,
    start: usize,
}

/// The bytes of a region that its chunks cover, from the region's start, joined where they touch.
fn runs(leaf: &Leaf) -> Vec<ByteRange> {
    let ranges =
        leaf.chunks.iter().map(|chunk| ByteRange::new(chunk.offset_bytes.into(), chunk.length_bytes.into()));
    image::coalesce(ranges.collect())
}

fn lost(range: ByteRange, chunk: &ChunkRef, error: Error) -> Error {
    let start_bytes = range.offset_bytes + u64::from(chunk.offset_bytes);
    let context =
        format!("{} bytes at {start_bytes} of the disk cannot be restored: {error}", chunk.length_bytes);
    Error::new(error.kind(), context).with_source(error)
}

#[cfg(test)]
mod tests;
