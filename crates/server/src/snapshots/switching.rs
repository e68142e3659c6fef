//! An image that goes over to another without its readers noticing.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use image::{ByteRange, DiskImage, Error, ErrorKind, Extent, Result};

/// A disk that is read from where its bytes are now. Whatever it is read from shows the same bytes.
pub(crate) struct SwitchingImage {
    size_bytes: u64,
    current: RwLock<Arc<dyn DiskImage>>,
}

impl SwitchingImage {
    pub(super) fn new(image: Arc<dyn DiskImage>) -> Self {
        Self { size_bytes: image.size_bytes(), current: RwLock::new(image) }
    }

    /// Reads go elsewhere from now on. Those that are under way may find the old place gone, and begin again.
    pub(super) fn switch(&self, image: Arc<dyn DiskImage>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = image;
    }

    fn current(&self) -> Arc<dyn DiskImage> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The image to try next after an error of the last one; none where it has not changed.
    fn after(&self, last: &Arc<dyn DiskImage>, error: &Error) -> Option<Arc<dyn DiskImage>> {
        let next = self.current();
        (error.kind() != ErrorKind::OutOfBounds && !Arc::ptr_eq(&next, last)).then_some(next)
    }
}

impl std::fmt::Debug for SwitchingImage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SwitchingImage").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

#[async_trait]
impl DiskImage for SwitchingImage {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        let mut image = self.current();
        loop {
            match image.extents(range).await {
                Err(error) if let Some(next) = self.after(&image, &error) => image = next,
                answer => return answer,
            }
        }
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<()> {
        let mut image = self.current();
        loop {
            match image.read_at(offset_bytes, buffer).await {
                Err(error) if let Some(next) = self.after(&image, &error) => image = next,
                answer => return answer,
            }
        }
    }
}

#[cfg(test)]
mod tests;
