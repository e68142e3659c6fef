//! A disk at the held moment.
//!
//! The moment is read through the overlay that the filter fills, and what the filter has not copied yet comes from the live
//! disk below. That overlay does not know when the filter has given the moment up; the filter's own view does, and refuses to
//! be read from then on. So each answer is confirmed by one read of that view afterwards.
//!
//! Why not read that view for everything: in versions of QEMU that people run (7.2.22 is one), a read there that begins in
//! blocks which were copied and ends in blocks which were not returns the *live* bytes of the copied ones.

use std::sync::Arc;

use ::image::{ByteRange, DiskImage, Error, ErrorKind, Extent, Result};
use async_trait::async_trait;

use super::scratch_watch::GivenUp;

/// Bytes read to see whether the moment is whole: they lie within one block, which is either copied or not.
const PROBE_LENGTH_BYTES: usize = 512;

/// A disk at the held moment.
pub(super) struct HeldImage {
    overlay: Arc<dyn DiskImage>,
    probe: Arc<dyn DiskImage>,
    given_up: GivenUp,
}

impl HeldImage {
    /// The image that `overlay` shows for as long as `probe` can be read and the moment is not given up.
    pub(super) fn new(overlay: Arc<dyn DiskImage>, probe: Arc<dyn DiskImage>, given_up: GivenUp) -> Self {
        Self { overlay, probe, given_up }
    }

    /// Fails when the moment was given up at any time until now, and otherwise as `read` did.
    async fn confirm<T>(&self, read: Result<T>) -> Result<T> {
        let probed = self.probe.read_at(0, &mut [0; PROBE_LENGTH_BYTES]).await;
        if self.given_up.is_set() {
            let context =
                "the held moment was given up: the file system of its scratch space was nearly full";
            return Err(Error::new(ErrorKind::Gone, context));
        }
        let value = read?;
        probed.map(|()| value).map_err(|source| {
            let context = "the held moment was given up to spare the guest: its scratch space was full, failed or too slow";
            Error::new(ErrorKind::Gone, context).with_source(source)
        })
    }
}

#[async_trait]
impl DiskImage for HeldImage {
    fn size_bytes(&self) -> u64 {
        self.overlay.size_bytes()
    }

    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.confirm(self.overlay.extents(range).await).await
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<()> {
        self.confirm(self.overlay.read_at(offset_bytes, buffer).await).await
    }
}
