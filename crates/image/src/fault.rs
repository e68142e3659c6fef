//! Faults on purpose, as a wrapper of the same shape as what it wraps.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use crate::{ByteRange, DiskImage, Error, ErrorKind, Extent, Result};

/// An image that fails from its n-th read on.
#[derive(Debug)]
pub struct FaultyImage<I> {
    inner: I,
    reads_left: AtomicU64,
    kind: ErrorKind,
}

impl<I> FaultyImage<I> {
    /// Lets `reads` reads pass, then fails all with `kind`.
    #[must_use]
    pub fn after_reads(inner: I, reads: u64, kind: ErrorKind) -> Self {
        Self { inner, reads_left: AtomicU64::new(reads), kind }
    }
}

#[async_trait]
impl<I: DiskImage> DiskImage for FaultyImage<I> {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.inner.extents(range).await
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<()> {
        let spent =
            self.reads_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match spent {
            Ok(_) => self.inner.read_at(offset_bytes, buffer).await,
            Err(_) => Err(Error::new(self.kind, "a fault on purpose")),
        }
    }
}
