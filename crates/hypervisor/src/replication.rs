//! Replication: every write of a running guest is handed to a journal before the guest is told that it is done.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use image::{ByteRange, DiskImage};
use model::{DiskName, JournalId};

use crate::{Result, VmAccess};

/// Where the writes of a VM's disks are to go.
#[derive(Debug, Clone)]
pub struct TapRequest {
    /// The VM.
    pub vm: VmAccess,
    /// The journal. What is left in the hypervisor is named after it.
    pub journal_id: JournalId,
    /// The unix socket of an NBD server on this host that takes writes.
    pub socket: PathBuf,
    /// The disks, each with its export on that server.
    pub disks: Vec<TappedDisk>,
    /// The newest epoch of tracking before which the journal lacks nothing; none when nothing is known of what it has.
    pub trusted: Option<TrackingEpoch>,
}

/// A disk whose writes are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TappedDisk {
    /// The disk.
    pub disk: DiskName,
    /// The name of the export that takes its writes.
    pub export: String,
}

/// A span of change tracking, counted from 1. Whatever is written while it lasts is in its dirty bitmap, so a journal that has
/// everything from before it and lost what came then knows what to read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackingEpoch(pub u64);

/// What a journal lacks of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missed {
    /// Everything, and why.
    All(String),
    /// No more than these ranges, in ascending order.
    Ranges(Vec<ByteRange>),
}

/// A disk whose writes are being taken.
pub struct TapDisk {
    /// The disk.
    pub name: DiskName,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What was written since the trusted epoch began and before the tap took all writes, or as it began.
    pub missed: Missed,
    /// The disk as it is now, while its guest writes to it. What is read is not older than the read.
    pub live: Arc<dyn DiskImage>,
}

/// Why writes may be missing from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TapEnd {
    /// The VM has ended. Everything it wrote was taken.
    VmEnded,
    /// The VM has got a disk, lost one, or one has another size.
    DisksChanged,
    /// The hypervisor gave a disk's writes up, and why: the guest went on without.
    Broken(String),
}

/// A VM whose writes are all taken. They are also after this was dropped, as long as the hypervisor and the tap live.
#[async_trait]
pub trait Tap: Send + Sync {
    /// The disks.
    fn disks(&self) -> &[TapDisk];

    /// Begins another epoch of tracking on all disks at one moment. When this returns, the tap has been handed every write
    /// that was done before it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Gone`] when the VM has ended; [`crate::ErrorKind::Busy`] when it cannot be done now.
    async fn begin_epoch(&self) -> Result<TrackingEpoch>;

    /// The journal durably has everything from before this epoch: what was tracked earlier is dropped.
    async fn trust(&self, epoch: TrackingEpoch) -> Result<()>;

    /// Fails unless the tap was handed every write that was done until now. One that it was not is known before the guest is told that it
    /// is done.
    async fn insist(&self) -> Result<()>;

    /// Takes the reading of the live disks back: everything that was missed has been copied.
    async fn end_reading(&self) -> Result<()>;

    /// Waits until writes may be missing.
    async fn ended(&self) -> TapEnd;

    /// Cuts the tap off at once, so that no write of the guest waits for it any longer. Never waits for the hypervisor's
    /// main loop.
    async fn cut(&self);
}

/// A guest whose file systems stand still. Dropped, it goes on.
#[async_trait]
pub trait Quiet: Send + Sync {
    /// Lets the guest go on.
    ///
    /// # Errors
    /// When it had to go on earlier, because the freeze took longer than it may: what was done meanwhile is not consistent for
    /// applications.
    async fn end(self: Box<Self>) -> Result<()>;
}
