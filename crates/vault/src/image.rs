//! A disk in a vault as an image: randomly readable, every byte checked.

mod compare;

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use image::{ByteRange, DiskImage, Extent, ExtentKind};

use crate::{
    DiskMap, FrameCache, Result, Vault,
    frame::FrameKind,
    tree::{Located, REGION_BYTES, TreeReader},
    vault::{Shared, Way},
};

/// Chunks of one read that are fetched side by side.
const CHUNKS_AT_ONCE: usize = 4;

/// A disk of a recovery point.
pub struct VaultImage {
    shared: Arc<Shared>,
    tree: TreeReader,
    frames: FrameCache,
}

impl Vault {
    /// A disk as an image. It keeps few frames, as is enough for reading in order.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongKey`] when this handle can only write, and whatever keeps the index from being read. Damage shows when the damaged part is read.
    pub async fn image(&self, map: &DiskMap) -> Result<VaultImage> {
        self.shared.keys.check_can_read()?;
        self.shared.refresh_to_read().await?;
        let tree = TreeReader::new(Arc::clone(&self.shared), *map);
        Ok(VaultImage { shared: Arc::clone(&self.shared), tree, frames: self.shared.data_frames.clone() })
    }
}

impl VaultImage {
    /// The same image, which reads by way of this cache: for reads all over the disk, and for many readers.
    #[must_use]
    pub fn with_frames(self, frames: &FrameCache) -> Self {
        Self { frames: frames.clone(), ..self }
    }

    async fn extents_within(&self, range: ByteRange) -> Result<Vec<Extent>> {
        let mut extents = Vec::new();
        let mut next_bytes = range.offset_bytes;
        while next_bytes < range.end_bytes() {
            let region = next_bytes / REGION_BYTES;
            match self.tree.locate(region).await? {
                Located::HoleUntil(region) => {
                    let end_bytes = region.saturating_mul(REGION_BYTES).min(range.end_bytes());
                    push(&mut extents, ByteRange::between(next_bytes, end_bytes), ExtentKind::Zero);
                    next_bytes = end_bytes;
                }
                Located::Leaf(id) => {
                    let region_range = self.tree.map().region_range(region);
                    let part = region_range.intersection(range);
                    for chunk in &self.tree.load_leaf(region, id).await?.chunks {
                        let start_bytes = region_range.offset_bytes + u64::from(chunk.offset_bytes);
                        let data = ByteRange::new(start_bytes, chunk.length_bytes.into()).intersection(part);
                        if !data.is_empty() {
                            push(
                                &mut extents,
                                ByteRange::between(next_bytes, data.offset_bytes),
                                ExtentKind::Zero,
                            );
                            push(&mut extents, data, ExtentKind::Data);
                            next_bytes = data.end_bytes();
                        }
                    }
                    push(&mut extents, ByteRange::between(next_bytes, part.end_bytes()), ExtentKind::Zero);
                    next_bytes = part.end_bytes();
                }
            }
        }
        Ok(extents)
    }

    /// Fills a zeroed buffer with what the chunks of one region put into `part`.
    async fn read_region(&self, region: u64, part: ByteRange, buffer: &mut [u8]) -> Result<()> {
        let leaf = self.tree.leaf(region).await?;
        let region_start_bytes = region * REGION_BYTES;
        let wanted = leaf.chunks.iter().filter_map(|chunk| {
            let start_bytes = region_start_bytes + u64::from(chunk.offset_bytes);
            let overlap = ByteRange::new(start_bytes, chunk.length_bytes.into()).intersection(part);
            (!overlap.is_empty()).then_some((*chunk, start_bytes, overlap))
        });
        let wanted: Vec<_> = wanted.collect();
        let way = Way { frames: &self.frames, is_alone: wanted.len() == 1 };
        let mut reads = stream::iter(wanted)
            .map(|(chunk, start_bytes, overlap)| async move {
                let length_bytes = Some(chunk.length_bytes);
                let read = self.shared.read_chunk_by(way, FrameKind::Data, chunk.id, length_bytes);
                let bytes = read.await?;
                let skip = (overlap.offset_bytes - start_bytes) as usize;
                Ok::<_, crate::Error>((overlap, bytes.slice(skip..skip + overlap.length_bytes as usize)))
            })
            .buffer_unordered(CHUNKS_AT_ONCE);
        while let Some((overlap, bytes)) = reads.try_next().await? {
            let start = (overlap.offset_bytes - part.offset_bytes) as usize;
            buffer[start..start + bytes.len()].copy_from_slice(&bytes);
        }
        Ok(())
    }
}

#[async_trait]
impl DiskImage for VaultImage {
    fn size_bytes(&self) -> u64 {
        self.tree.map().size_bytes
    }

    async fn extents(&self, range: ByteRange) -> image::Result<Vec<Extent>> {
        range.check_within(self.size_bytes())?;
        Ok(self.extents_within(range).await?)
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> image::Result<()> {
        let range = ByteRange { offset_bytes, length_bytes: buffer.len() as u64 };
        range.check_within(self.size_bytes())?;
        buffer.fill(0);
        let mut rest = buffer;
        let mut next_bytes = offset_bytes;
        while !rest.is_empty() {
            let region = next_bytes / REGION_BYTES;
            let part = self.tree.map().region_range(region).intersection(range);
            let (now, later) = rest.split_at_mut(part.length_bytes as usize);
            self.read_region(region, part, now).await?;
            rest = later;
            next_bytes = part.end_bytes();
        }
        Ok(())
    }
}

/// Appends an extent, joined with the last one where they are of one kind.
fn push(extents: &mut Vec<Extent>, range: ByteRange, kind: ExtentKind) {
    match extents.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.kind == kind => last.range.length_bytes += range.length_bytes,
        _ => extents.push(Extent { range, kind }),
    }
}

#[cfg(test)]
mod tests;
