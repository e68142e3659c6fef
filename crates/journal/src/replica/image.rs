//! A disk of a replica at a moment, as an image.

use std::sync::Arc;

use async_trait::async_trait;
use image::{ByteRange, DiskImage, Extent};

use super::moment::Held;
use crate::{DiskNumber, Error, Result, extents::Sectors, record::SECTOR_BYTES};

/// A disk at a moment of its journal. What it needs is not folded before it is dropped.
#[derive(Clone)]
pub struct ReplicaImage {
    held: Arc<Held>,
    disk: DiskNumber,
    size_bytes: u64,
}

impl ReplicaImage {
    pub(super) fn new(held: Arc<Held>, disk: DiskNumber, size_bytes: u64) -> Self {
        Self { held, disk, size_bytes }
    }

    /// The whole sectors that hold a range.
    fn sectors(&self, range: ByteRange) -> Sectors {
        let end = range.end_bytes().div_ceil(SECTOR_BYTES);
        Sectors { disk: self.disk, start: range.offset_bytes / SECTOR_BYTES, end }
    }

    /// Fills the buffer; waits for the file system.
    fn read(&self, offset_bytes: u64, length: usize) -> Result<Vec<u8>> {
        let sectors = self.sectors(ByteRange::new(offset_bytes, length as u64));
        let mut bytes = vec![0; ((sectors.end - sectors.start) * SECTOR_BYTES) as usize];
        self.held.sight()?.read(self.held.shared(), sectors, &mut bytes)?;
        let start = (offset_bytes - sectors.start * SECTOR_BYTES) as usize;
        bytes.truncate(start + length);
        Ok(bytes.split_off(start))
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> Result<T> + Send + 'static,
    ) -> image::Result<T> {
        let image = self.clone();
        let done = self.held.shared().threads.run(move || work(image)).await;
        let done = done.map_err(|error| {
            image::Error::new(image::ErrorKind::Io, "reading a replica was cut off").with_source(error)
        })?;
        done.map_err(Error::into)
    }
}

#[async_trait]
impl DiskImage for ReplicaImage {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn extents(&self, range: ByteRange) -> image::Result<Vec<Extent>> {
        range.check_within(self.size_bytes)?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let mut extents = self
            .work(move |image| image.held.sight()?.extents(image.held.shared(), image.sectors(range)))
            .await?;
        for extent in &mut extents {
            extent.range = extent.range.intersection(range);
        }
        Ok(extents)
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> image::Result<()> {
        let length = buffer.len();
        ByteRange { offset_bytes, length_bytes: length as u64 }.check_within(self.size_bytes)?;
        buffer.copy_from_slice(&self.work(move |image| image.read(offset_bytes, length)).await?);
        Ok(())
    }
}
