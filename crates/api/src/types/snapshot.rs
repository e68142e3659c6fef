//! Managed snapshots.

use std::collections::BTreeMap;

use model::{
    ByteCount, Consistency, JobId, PolicyName, SnapshotId, SnapshotKind, SnapshotName, SnapshotState,
    Timestamp, VmId,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{JobView, PointDiskView};

/// Makes a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSnapshot {
    /// What of: the name or id of a VM; `<vm>/<disk>` for one disk of it, where `%2F` stands for a slash inside a name; or
    /// `file:<path>`, an image file that nobody writes to, by an absolute path.
    pub source: String,
    /// Its name; made of the source's name and the time where it is left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub name: Option<SnapshotName>,
    /// The consistency to ask for: application, file-system or crash. Left out, that of the VM's protection, or crash.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub consistency: Option<Consistency>,
    /// Trust no change tracking: read everything.
    #[serde(default)]
    pub full: bool,
    /// Words to find it by.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Until when nobody may delete it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub lock_until: Option<Timestamp>,
}

/// Makes the snapshots of a VM follow a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSnapshots {
    /// The policy, by name.
    pub policy: String,
    /// The consistency to ask for: application, file-system or crash. Left out, that of the VM's protection, or crash.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub consistency: Option<Consistency>,
}

/// A snapshot that is being made, and the job that does it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedSnapshot {
    /// The snapshot. It can be used as soon as its moment is fixed.
    pub snapshot: SnapshotView,
    /// The job. It ends when all of the snapshot is in the store.
    pub job: JobView,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotView {
    /// The snapshot.
    #[schema(value_type = String)]
    pub id: SnapshotId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: SnapshotName,
    /// What it is of: the VM's name at that moment, or an image file's path.
    pub family: String,
    /// The VM's id, or what stands for the image file.
    #[schema(value_type = String)]
    pub family_id: VmId,
    /// What was asked for.
    pub source: String,
    /// waiting, copying, ready, failed or deleted. It can be used while it is copying or ready.
    #[schema(value_type = String)]
    pub state: SnapshotState,
    /// How much of it is in the store, in percent.
    pub percent_complete: u8,
    /// full, incremental or compared, once it is ready.
    #[schema(value_type = Option<String>)]
    pub kind: Option<SnapshotKind>,
    /// The consistency asked for, once its moment is fixed.
    #[schema(value_type = Option<String>)]
    pub consistency_asked: Option<Consistency>,
    /// The consistency that it has.
    #[schema(value_type = Option<String>)]
    pub consistency_reached: Option<Consistency>,
    /// Why less was reached than asked.
    pub shortfall: Option<String>,
    /// When it was asked for.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// The moment that it shows.
    #[schema(value_type = Option<String>)]
    pub taken_at: Option<Timestamp>,
    /// When all of it was in the store.
    #[schema(value_type = Option<String>)]
    pub ready_at: Option<Timestamp>,
    /// The virtual size of its disks.
    #[schema(value_type = u64)]
    pub size_bytes: ByteCount,
    /// Bytes that were read for it.
    #[schema(value_type = u64)]
    pub read_bytes: ByteCount,
    /// Bytes that it added to the store when it was made.
    #[schema(value_type = u64)]
    pub stored_bytes: ByteCount,
    /// Bytes of data on its disks: what is not zero. Only where sizes were asked for.
    #[schema(value_type = Option<u64>)]
    pub used_bytes: Option<ByteCount>,
    /// Bytes in the store that no other snapshot needs: what deleting it for good gives back. Only where sizes were asked for.
    #[schema(value_type = Option<u64>)]
    pub unique_bytes: Option<ByteCount>,
    /// Bytes in the store that only snapshots of its family need. Only where sizes were asked for.
    #[schema(value_type = Option<u64>)]
    pub family_unique_bytes: Option<ByteCount>,
    /// Its disks.
    pub disks: Vec<PointDiskView>,
    /// Words of the user's.
    pub tags: BTreeMap<String, String>,
    /// Until when nobody may delete it.
    #[schema(value_type = Option<String>)]
    pub locked_until: Option<Timestamp>,
    /// When it was deleted.
    #[schema(value_type = Option<String>)]
    pub deleted_at: Option<Timestamp>,
    /// When it is purged; until then it can be brought back.
    #[schema(value_type = Option<String>)]
    pub purge_after: Option<Timestamp>,
    /// The job that makes it.
    #[schema(value_type = Option<String>)]
    pub job_id: Option<JobId>,
    /// Where it was copied to, where that was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<SnapshotCopyView>,
    /// Why it failed.
    pub problem: Option<String>,
    /// The policy that made it; null where somebody asked for it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub policy: Option<PolicyName>,
}

/// A page of snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotPage {
    /// The snapshots, newest first.
    pub snapshots: Vec<SnapshotView>,
    /// What to ask for the next page with; none when this was the last.
    pub next: Option<String>,
}

/// Deletes a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteSnapshot {
    /// Purge it at once: it cannot be brought back.
    #[serde(default)]
    pub now: bool,
    /// Change nothing, and say whether it could be deleted.
    #[serde(default)]
    pub dry_run: bool,
}

/// Locks a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LockSnapshot {
    /// Until when nobody may delete it. A lock can be extended, not shortened.
    #[schema(value_type = String)]
    pub until: Timestamp,
}

/// Changes a snapshot's tags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TagSnapshot {
    /// The tags that it gets.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// The tags that it loses.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// Makes a VM's disks what a snapshot of it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevertVm {
    /// The VM, by name or id.
    pub vm: String,
    /// Do not make a snapshot of what it is first.
    #[serde(default)]
    pub no_safety: bool,
    /// Where the VM runs, ask its guest to shut down first, and start it again afterwards.
    #[serde(default)]
    pub stop: bool,
    /// With `stop`: power the VM off where its guest has not shut down in time.
    #[serde(default)]
    pub force: bool,
    /// Start the VM afterwards, whether it ran or not.
    #[serde(default)]
    pub start: bool,
    /// Compare and write nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// Copies a snapshot into a vault or to another site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopySnapshot {
    /// The vault or the site, by name or id.
    pub to: String,
    /// The name that it is to have there; its own where it is left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub name: Option<SnapshotName>,
    /// The most that is sent in a second, in bytes; to a site alone.
    #[serde(default)]
    pub rate_limit_bytes_per_second: Option<u64>,
}

/// A copy of a snapshot somewhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotCopyView {
    /// The snapshot's name here.
    pub snapshot: String,
    /// The vault or site.
    pub place: String,
    /// vault or site.
    pub place_kind: String,
    /// unfinished, done or failed.
    pub state: String,
    /// How far it is, in percent, where its job runs; 100 when it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent_complete: Option<u8>,
    /// What it is called there, once it is: a name, or the id of a recovery point.
    pub name_there: Option<String>,
    /// When it was asked for.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it had arrived, or had come to nothing.
    #[schema(value_type = Option<String>)]
    pub ended_at: Option<Timestamp>,
    /// What was sent, or stored in the vault, for it.
    #[schema(value_type = u64)]
    pub sent_bytes: ByteCount,
    /// The job that does it.
    #[schema(value_type = Option<String>)]
    pub job_id: Option<JobId>,
    /// Why it came to nothing.
    pub problem: Option<String>,
}
