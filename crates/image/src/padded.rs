//! An image with zeros behind its end.

use async_trait::async_trait;

use crate::{ByteRange, DiskImage, Extent, ExtentKind, Result};

/// An image that is followed by zeros up to a multiple of some size, as formats and clouds want it.
#[derive(Debug)]
pub struct PaddedImage<I> {
    inner: I,
    size_bytes: u64,
}

impl<I: DiskImage> PaddedImage<I> {
    /// Pads to the next multiple of `unit_bytes`, which is one of 512.
    #[must_use]
    pub fn new(inner: I, unit_bytes: u64) -> Self {
        let size_bytes = inner.size_bytes().next_multiple_of(unit_bytes);
        Self { inner, size_bytes }
    }

    fn split(&self, range: ByteRange) -> (ByteRange, ByteRange) {
        let inner_end_bytes = self.inner.size_bytes().clamp(range.offset_bytes, range.end_bytes());
        (
            ByteRange::between(range.offset_bytes, inner_end_bytes),
            ByteRange::between(inner_end_bytes, range.end_bytes()),
        )
    }
}

#[async_trait]
impl<I: DiskImage> DiskImage for PaddedImage<I> {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        range.check_within(self.size_bytes)?;
        let (inside, behind) = self.split(range);
        let mut extents = if inside.is_empty() { Vec::new() } else { self.inner.extents(inside).await? };
        if !behind.is_empty() {
            extents.push(Extent { range: behind, kind: ExtentKind::Zero });
        }
        Ok(extents)
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<()> {
        let range = ByteRange { offset_bytes, length_bytes: buffer.len() as u64 };
        range.check_within(self.size_bytes)?;
        let (inside, behind) = buffer.split_at_mut(self.split(range).0.length_bytes as usize);
        behind.fill(0);
        if inside.is_empty() { Ok(()) } else { self.inner.read_at(offset_bytes, inside).await }
    }
}
