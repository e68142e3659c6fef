//! A VM held at one moment.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use image::{ChangeMap, DiskImage};
use model::{CaptureCost, CaptureId, Consistency, ConsistencyReached, DiskName, Timestamp, VmDefinition};

use crate::{Result, VmAccess};

/// Called with each phase that a capture enters.
pub type PhaseListener = Arc<dyn Fn(CapturePhase) + Send + Sync>;

/// What is asked of a capture.
#[derive(Clone)]
pub struct CaptureRequest {
    /// The VM.
    pub vm: VmAccess,
    /// What it is made for.
    pub chain: Chain,
    /// The new capture; the dirty bitmaps that start at its moment are named after it.
    pub capture_id: CaptureId,
    /// The captures of the same chain whose bitmaps say what has changed since.
    pub baseline: Baseline,
    /// The only disk to hold; none holds all of them.
    pub disk: Option<DiskName>,
    /// The consistency to reach.
    pub consistency: Consistency,
    /// Fail rather than take a weaker moment.
    pub strict: bool,
    /// The longest time for which the guest's file systems may stay frozen.
    pub freeze_limit: Duration,
    /// Told of each phase.
    pub on_phase: PhaseListener,
}

impl fmt::Debug for CaptureRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CaptureRequest")
            .field("vm", &self.vm)
            .field("chain", &self.chain)
            .field("capture_id", &self.capture_id)
            .finish_non_exhaustive()
    }
}

/// A chain of dirty bitmaps from capture to capture. Each is settled by itself: what becomes of a snapshot is nothing to
/// the next backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// From recovery point to recovery point.
    Backup,
    /// From managed snapshot to managed snapshot.
    Snapshot,
    /// From epoch to epoch of a VM that is replicated at intervals.
    Replication,
}

impl Chain {
    /// All chains.
    pub const ALL: [Self; 3] = [Self::Backup, Self::Snapshot, Self::Replication];

    /// What one link of the chain is called.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Snapshot => "snapshot",
            Self::Replication => "epoch",
        }
    }
}

/// The committed captures of one chain: for each disk the one from which its changes are counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline(BTreeMap<DiskName, CaptureId>);

impl Baseline {
    /// The capture from which a disk's changes are counted; none for a disk that was not captured before.
    #[must_use]
    pub fn of(&self, disk: &DiskName) -> Option<CaptureId> {
        self.0.get(disk).copied()
    }

    /// Counts the changes of a disk from another capture on.
    pub fn set(&mut self, disk: DiskName, capture_id: CaptureId) {
        self.0.insert(disk, capture_id);
    }
}

impl FromIterator<(DiskName, CaptureId)> for Baseline {
    fn from_iter<I: IntoIterator<Item = (DiskName, CaptureId)>>(disks: I) -> Self {
        Self(disks.into_iter().collect())
    }
}

/// A step on the way to a held moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapturePhase {
    /// Removing what an earlier, dead capture left.
    CleaningUp,
    /// Putting filters and scratch in place.
    Preparing,
    /// The guest runs its hooks and freezes its file systems.
    Freezing,
    /// The virtual CPUs stand still while the moment is fixed.
    Fixing,
    /// The guest thaws.
    Thawing,
}

impl CapturePhase {
    /// The phase in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CleaningUp => "cleaning up",
            Self::Preparing => "preparing",
            Self::Freezing => "freezing the guest",
            Self::Fixing => "fixing the moment",
            Self::Thawing => "thawing the guest",
        }
    }
}

/// What became of a capture's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureOutcome {
    /// What it was made for is committed: change tracking starts anew at this capture.
    Kept,
    /// It is not: change tracking goes on from the baseline, as if this capture had never been.
    Abandoned,
}

/// A VM held at one moment. Dropping it without [`Capture::finish`] leaves clean-up to [`crate::Hypervisor::recover`].
#[async_trait]
pub trait Capture: Send + Sync {
    /// What is known about the moment.
    fn facts(&self) -> &CaptureFacts;

    /// The disks at that moment, in the definition's order.
    fn disks(&self) -> &[CapturedDisk];

    /// What the capture has cost the guest so far. Asked once the data is read, before the point is committed.
    async fn cost(&self) -> CaptureCost;

    /// Lets go of the moment and settles change tracking.
    async fn finish(self: Box<Self>, outcome: CaptureOutcome) -> Result<()>;
}

/// What is known about a captured moment.
#[derive(Debug, Clone)]
pub struct CaptureFacts {
    /// The moment.
    pub captured_at: Timestamp,
    /// The consistency asked for and reached.
    pub consistency: ConsistencyReached,
    /// The VM's definition at that moment.
    pub definition: VmDefinition,
    /// Drives that the capture leaves out, a sentence each.
    pub omitted: Vec<String>,
}

/// One disk of a capture.
pub struct CapturedDisk {
    /// The disk.
    pub name: DiskName,
    /// Its bytes at the moment. Reads fail with [`image::ErrorKind::Gone`] once the moment is lost.
    pub image: Arc<dyn DiskImage>,
    /// What changed since the baseline.
    pub changes: DiskChanges,
}

/// What changed on a disk since the baseline.
#[derive(Clone)]
pub enum DiskChanges {
    /// Only this.
    Since(Arc<dyn ChangeMap>),
    /// Nobody knows: read everything and compare. The reason is a clause: "the VM was power-cycled, …".
    Unknown {
        /// Why.
        reason: String,
    },
}
