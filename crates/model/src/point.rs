//! Recovery points as people see them. The durable document of a point is `vault`'s own.

use serde::{Deserialize, Serialize};

use crate::{ByteCount, CaptureId, Consistency, DiskName, PointId, Timestamp, VmId, VmName};

/// A recovery point in a vault: one moment of one VM, with all its disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PointSummary {
    /// The point.
    pub id: PointId,
    /// The VM it is of.
    pub vm_id: VmId,
    /// The VM's name at that moment.
    pub vm_name: VmName,
    /// The moment that the disks show.
    pub captured_at: Timestamp,
    /// The capture that the point came from.
    pub capture_id: CaptureId,
    /// The point whose disk maps this one started from.
    pub parent: Option<PointId>,
    /// What was asked for and what was reached.
    pub consistency: ConsistencyReached,
    /// The disks.
    pub disks: Vec<DiskSummary>,
    /// What the capture cost the guest.
    pub cost: CaptureCost,
    /// A word of the user's.
    pub label: Option<String>,
}

impl PointSummary {
    /// Bytes read from the guest's disks for this point.
    #[must_use]
    pub fn read_bytes(&self) -> ByteCount {
        self.disks.iter().map(|disk| disk.read_bytes).sum()
    }

    /// Bytes that this point added to the vault.
    #[must_use]
    pub fn stored_bytes(&self) -> ByteCount {
        self.disks.iter().map(|disk| disk.stored_bytes).sum()
    }

    /// Sum of the disks' virtual sizes.
    #[must_use]
    pub fn size_bytes(&self) -> ByteCount {
        self.disks.iter().map(|disk| disk.size_bytes).sum()
    }
}

/// The consistency asked for and the one that the point really has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ConsistencyReached {
    /// What the protection asked for.
    pub asked: Consistency,
    /// What the point has.
    pub reached: Consistency,
    /// Why less was reached than asked.
    pub shortfall: Option<String>,
}

/// One disk of a recovery point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DiskSummary {
    /// The disk.
    pub name: DiskName,
    /// The disk's virtual size.
    pub size_bytes: ByteCount,
    /// Bytes read from the disk for this point.
    pub read_bytes: ByteCount,
    /// Bytes that this disk added to the vault, compressed and encrypted.
    pub stored_bytes: ByteCount,
    /// How the bytes to read were found.
    pub source: ChangeSource,
}

/// How a backup knew what to read of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum ChangeSource {
    /// The first backup of the disk: everything was read.
    Full,
    /// The dirty bitmap since the parent point named the extents to read.
    Bitmap,
    /// There was no trustworthy bitmap: everything was read, and only what differs was stored.
    Compared {
        /// Why the bitmap could not be used.
        reason: String,
    },
}

/// What a capture cost the guest. Durations in microseconds; `None` where the hypervisor could not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CaptureCost {
    /// How long the virtual CPUs stood still.
    pub pause_us: Option<u64>,
    /// How long the guest's file systems were frozen.
    pub freeze_us: Option<u64>,
    /// 99th percentile of the guest's write latency before the capture.
    pub write_p99_before_us: Option<u64>,
    /// 99th percentile of the guest's write latency while the capture was held.
    pub write_p99_during_us: Option<u64>,
}
