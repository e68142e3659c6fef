//! Disks that read from an image below them, and become whole.

use model::DiskName;

/// Which disk is to become whole, and how fast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hydration {
    /// The disk.
    pub disk: DiskName,
    /// The most that is copied in a second, in bytes; all that the host can where it is left out.
    pub rate_limit_bytes_per_second: Option<u64>,
}

/// Is told how far a hydration is: the bytes of the disk that are done, and all of them.
pub type HydrationListener = dyn Fn(u64, u64) + Send + Sync;
