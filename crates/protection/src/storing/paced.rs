//! An image that is read no faster than a limit.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use image::{ByteRange, DiskImage, Extent, Result};
use tokio::time::Instant;

/// The moment at which the next read may begin. Shared by all disks of one backup, so that the limit is the guest's.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    free_at: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free_at: Mutex::new(Instant::now()) }
    }

    /// Waits for the turn of a read of this length. Time that nobody used is not saved up.
    async fn turn(&self, length_bytes: usize) {
        let start = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let start = Instant::now().max(*free_at);
            *free_at = start + Duration::from_secs_f64(length_bytes as f64 / self.bytes_per_second as f64);
            start
        };
        tokio::time::sleep_until(start).await;
    }
}

/// An image that is read at a [`Pace`].
pub(super) struct PacedImage {
    inner: Arc<dyn DiskImage>,
    pace: Arc<Pace>,
}

impl PacedImage {
    pub(super) fn new(inner: Arc<dyn DiskImage>, pace: Arc<Pace>) -> Self {
        Self { inner, pace }
    }
}

#[async_trait]
impl DiskImage for PacedImage {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.inner.extents(range).await
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<()> {
        self.pace.turn(buffer.len()).await;
        self.inner.read_at(offset_bytes, buffer).await
    }
}
