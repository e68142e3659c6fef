//! Recovery points.

use model::{ByteCount, ChangeSource, Consistency, PointId, PointSummary, Timestamp, VmDefinition, VmId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A recovery point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PointView {
    /// The point.
    #[schema(value_type = String)]
    pub id: PointId,
    /// The VM.
    #[schema(value_type = String)]
    pub vm_id: VmId,
    /// The VM's name at that moment.
    pub vm_name: String,
    /// The vault's name.
    pub vault: String,
    /// The moment that the disks show.
    #[schema(value_type = String)]
    pub captured_at: Timestamp,
    /// The point that this one started from.
    #[schema(value_type = Option<String>)]
    pub parent: Option<PointId>,
    /// The consistency asked for.
    #[schema(value_type = String)]
    pub consistency_asked: Consistency,
    /// The consistency reached.
    #[schema(value_type = String)]
    pub consistency_reached: Consistency,
    /// Why less was reached than asked.
    pub shortfall: Option<String>,
    /// A word of the user's.
    pub label: Option<String>,
    /// Why nobody may delete it.
    #[serde(default)]
    pub hold: Option<String>,
    /// When it was deleted; until it is purged it can be brought back.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub deleted_at: Option<Timestamp>,
    /// When a garbage collection may take it for good.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub purge_after: Option<Timestamp>,
    /// From when on it may be deleted, where the vault's least retention holds it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub deletable_from: Option<Timestamp>,
    /// Sum of the disks' virtual sizes.
    #[schema(value_type = u64)]
    pub size_bytes: ByteCount,
    /// Bytes read from the guest's disks.
    #[schema(value_type = u64)]
    pub read_bytes: ByteCount,
    /// Bytes added to the vault.
    #[schema(value_type = u64)]
    pub stored_bytes: ByteCount,
    /// The disks.
    pub disks: Vec<PointDiskView>,
    /// What the capture cost the guest.
    pub cost: CostView,
    /// How it did when it was last booted in isolation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<PointTestView>,
    /// The VM's definition at that moment; only where one point is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub definition: Option<VmDefinition>,
}

/// A disk of a recovery point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PointDiskView {
    /// The disk.
    pub name: String,
    /// Its virtual size.
    #[schema(value_type = u64)]
    pub size_bytes: ByteCount,
    /// Bytes read from it.
    #[schema(value_type = u64)]
    pub read_bytes: ByteCount,
    /// Bytes that it added to the vault.
    #[schema(value_type = u64)]
    pub stored_bytes: ByteCount,
    /// How the bytes to read were found.
    pub source: ChangeSourceView,
}

/// How a backup knew what to read of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ChangeSourceView {
    /// Everything was read, for the first time.
    Full,
    /// The dirty bitmap named what to read.
    Bitmap,
    /// Everything was read and compared; only what differs was stored.
    Compared {
        /// Why there was no trustworthy bitmap.
        reason: String,
    },
}

/// Boots a recovery point in isolation, and says whether it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestPoint {
    /// The moment: `point:<vm>/<point>`, `snapshot:<name>` or `replica:<vm>[/<moment>]`.
    pub reference: String,
    /// The copy to read instead of the vault: `<copy>`, or `<vault>/<copy>` where several have the name.
    #[serde(default)]
    pub from_copy: Option<String>,
    /// What the guest writes to its serial port when it is up; its agent is waited for where this is left out.
    #[serde(default)]
    pub console: Option<String>,
    /// A program and its arguments that the guest runs then, through its agent; it must end with 0.
    #[serde(default)]
    pub check: Vec<String>,
    /// How long the boot may take, and the check again, in seconds; 300 by default.
    #[serde(default = "five_minutes")]
    pub limit_seconds: u64,
}

fn five_minutes() -> u64 {
    300
}

/// How a recovery point did when it was booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PointTestView {
    /// The point; null for a moment of a replica.
    #[schema(value_type = Option<String>)]
    pub point_id: Option<PointId>,
    /// The moment of a replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// When it was booted.
    #[schema(value_type = String)]
    pub tested_at: Timestamp,
    /// Whether it did what was asked of it.
    pub passed: bool,
    /// How long it took from the start to the sign that was waited for, in milliseconds.
    pub boot_ms: Option<u64>,
    /// What was seen, in words.
    pub detail: String,
    /// The picture of its screen, on the server's host.
    pub screenshot: Option<String>,
}

/// What a capture cost the guest, in microseconds; null where it could not be measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CostView {
    /// How long the virtual CPUs stood still.
    pub pause_us: Option<u64>,
    /// How long the file systems were frozen.
    pub freeze_us: Option<u64>,
    /// 99th percentile of write latency before.
    pub write_p99_before_us: Option<u64>,
    /// 99th percentile of write latency during.
    pub write_p99_during_us: Option<u64>,
}

impl PointView {
    /// The view of a point in the vault of this name.
    #[must_use]
    pub fn new(point: PointSummary, vault: &str, definition: Option<VmDefinition>) -> Self {
        Self {
            id: point.id,
            vm_id: point.vm_id,
            vault: vault.to_owned(),
            captured_at: point.captured_at,
            parent: point.parent,
            consistency_asked: point.consistency.asked,
            consistency_reached: point.consistency.reached,
            size_bytes: point.size_bytes(),
            read_bytes: point.read_bytes(),
            stored_bytes: point.stored_bytes(),
            disks: point.disks.iter().map(PointDiskView::from).collect(),
            cost: CostView {
                pause_us: point.cost.pause_us,
                freeze_us: point.cost.freeze_us,
                write_p99_before_us: point.cost.write_p99_before_us,
                write_p99_during_us: point.cost.write_p99_during_us,
            },
            vm_name: point.vm_name.into(),
            shortfall: point.consistency.shortfall,
            label: point.label,
            hold: None,
            deleted_at: None,
            purge_after: None,
            deletable_from: None,
            test: None,
            definition,
        }
    }
}

impl From<&model::DiskSummary> for PointDiskView {
    fn from(disk: &model::DiskSummary) -> Self {
        Self {
            name: disk.name.to_string(),
            size_bytes: disk.size_bytes,
            read_bytes: disk.read_bytes,
            stored_bytes: disk.stored_bytes,
            source: match &disk.source {
                ChangeSource::Full => ChangeSourceView::Full,
                ChangeSource::Bitmap => ChangeSourceView::Bitmap,
                ChangeSource::Compared { reason } => ChangeSourceView::Compared { reason: reason.clone() },
            },
        }
    }
}
