//! The image seam. Everything that can be restored is a [`DiskImage`]; everything that can be written is a [`DiskTarget`].
//!
//! This crate knows no format, no network and no hypervisor. It holds the two traits, their written contract, an
//! implementation in memory, a wrapper that injects faults, and the [`conformance`] suite that every implementation runs.

mod changes;
mod compare;
pub mod conformance;
mod error;
mod extent;
mod fault;
mod memory;
mod padded;

use std::sync::Arc;

use async_trait::async_trait;

pub use changes::{ChangeMap, FixedChanges};
pub use compare::differences;
pub use error::{Error, ErrorKind, Result};
pub use extent::{ByteRange, Extent, ExtentKind, coalesce};
pub use fault::FaultyImage;
pub use memory::{MemoryImage, MemoryTarget};
pub use padded::PaddedImage;

/// An immutable, point-in-time, randomly readable disk.
///
/// Contract:
/// - `size_bytes` never changes and is a multiple of 512.
/// - `read_at` fills the whole buffer or fails; the same range always reads the same bytes.
/// - `extents` covers the asked range exactly: sorted, no gaps, no overlaps, no empty extents. Every byte of a
///   [`ExtentKind::Zero`] extent reads as zero; a [`ExtentKind::Data`] extent may still hold zeros.
/// - A range that reaches past the end is an error of kind [`ErrorKind::OutOfBounds`], never a short read.
/// - All methods may be called at once from many tasks.
#[async_trait]
pub trait DiskImage: Send + Sync {
    /// The virtual size in bytes.
    fn size_bytes(&self) -> u64;

    /// What is known of a range without reading it. Ask for windows of at most a few GiB: the answer is held in memory.
    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>>;

    /// Reads `buffer.len()` bytes from `offset_bytes` on.
    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<()>;
}

/// A disk that is being written.
///
/// Contract:
/// - `size_bytes` never changes.
/// - Bytes that were never written read as zero once the target is read back, when `starts_zeroed` says so.
/// - `write_at` and `write_zeroes` of disjoint ranges may run at once, in any order; overlapping ones may not.
/// - Nothing is promised to be durable before `flush` has returned; then everything written before it is.
/// - A range that reaches past the end is an error of kind [`ErrorKind::OutOfBounds`].
#[async_trait]
pub trait DiskTarget: Send + Sync {
    /// The virtual size in bytes.
    fn size_bytes(&self) -> u64;

    /// Whether everything not written reads as zero, so that holes need not be written.
    fn starts_zeroed(&self) -> bool;

    /// Writes the whole of `data` at `offset_bytes`.
    async fn write_at(&self, offset_bytes: u64, data: &[u8]) -> Result<()>;

    /// Makes a range read as zero, without allocating where the target can.
    async fn write_zeroes(&self, range: ByteRange) -> Result<()>;

    /// Makes everything written so far durable.
    async fn flush(&self) -> Result<()>;
}

#[async_trait]
impl<T: DiskImage + ?Sized> DiskImage for Arc<T> {
    fn size_bytes(&self) -> u64 {
        (**self).size_bytes()
    }

    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        (**self).extents(range).await
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<()> {
        (**self).read_at(offset_bytes, buffer).await
    }
}

#[cfg(test)]
mod tests;
