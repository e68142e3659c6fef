//! An image whose bytes are lost for good.

use async_trait::async_trait;
use image::{ByteRange, DiskImage, Error, ErrorKind, Extent, Result};

/// What is left of a disk of a snapshot that came to nothing. Whoever reads it should not wait for better times: it is as damaged
/// as a disk can be.
pub(crate) struct LostImage {
    size_bytes: u64,
}

impl LostImage {
    pub(crate) fn new(size_bytes: u64) -> Self {
        Self { size_bytes }
    }
}

fn lost() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "the snapshot came to nothing before all of it was copied, and its data is lost",
    )
}

#[async_trait]
impl DiskImage for LostImage {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        range.check_within(self.size_bytes)?;
        Err(lost())
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<()> {
        ByteRange::new(offset_bytes, buffer.len() as u64).check_within(self.size_bytes)?;
        Err(lost())
    }
}
