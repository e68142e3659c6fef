//! Restores.

use model::{ByteCount, DiskFormat, JobId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Builds a new VM from a recovery point.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreVmRequest {
    /// The point: `point:<vm>/<point>`.
    pub reference: String,
    /// The copy to read instead of the vault: `<copy>`, or `<vault>/<copy>` where several have the name.
    #[serde(default)]
    pub from_copy: Option<String>,
    /// The new VM's name; defaults to the old one where that is free.
    #[serde(default)]
    pub name: Option<String>,
    /// The directory for its disks; defaults to one in the site's data directory.
    #[serde(default)]
    pub directory: Option<String>,
    /// The format of its disks; defaults to qcow2, which can track changes.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub format: Option<DiskFormat>,
    /// Keep the MAC addresses and the UUID, for a VM that takes the old one's place. Otherwise both are new.
    #[serde(default)]
    pub keep_identity: bool,
    /// Where a VM of this name is known: overwrite its disks in place, where they differ. Otherwise: replace disk files that
    /// exist.
    #[serde(default)]
    pub replace: bool,
    /// Start the VM when it is restored.
    #[serde(default)]
    pub start: bool,
    /// In place only: do not back the VM up first.
    #[serde(default)]
    pub no_safety_point: bool,
    /// In place only: compare and write nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// In place only: where the VM runs, ask its guest to shut down first, and start it again afterwards.
    #[serde(default)]
    pub stop: bool,
    /// With `stop`: power the VM off where its guest has not shut down in time.
    #[serde(default)]
    pub force: bool,
}

/// Runs a new VM from a recovery point at once; its disks become whole meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BootRequest {
    /// The point: `point:<vm>/<point>`.
    pub reference: String,
    /// The copy to read instead of the vault: `<copy>`, or `<vault>/<copy>` where several have the name.
    #[serde(default)]
    pub from_copy: Option<String>,
    /// The new VM's name; defaults to the old one where that is free.
    #[serde(default)]
    pub name: Option<String>,
    /// The directory for its disks; defaults to one in the site's data directory.
    #[serde(default)]
    pub directory: Option<String>,
    /// Keep the MAC addresses and the UUID, for a VM that takes the old one's place. Otherwise both are new.
    #[serde(default)]
    pub keep_identity: bool,
    /// Let the guest reach nothing over its networks.
    #[serde(default)]
    pub isolated: bool,
    /// Make the disks whole while the VM runs. Otherwise it depends on the point until it is hydrated.
    #[serde(default = "yes")]
    pub hydrate: bool,
    /// The most that is copied in a second, in bytes.
    #[serde(default)]
    pub rate_limit_bytes_per_second: Option<u64>,
    /// How long the guest waits while the point cannot be read; then it sees errors of its disk. In seconds; a day by default.
    #[serde(default = "day_seconds")]
    pub wait_limit_seconds: u64,
}

/// Makes the disks of a VM whole that runs from a recovery point.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HydrateRequest {
    /// The most that is copied in a second, in bytes.
    #[serde(default)]
    pub rate_limit_bytes_per_second: Option<u64>,
}

/// A VM whose disks are whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HydratedView {
    /// The VM's name.
    pub vm_name: String,
    /// The size of the disks that became whole.
    #[schema(value_type = u64)]
    pub whole_bytes: ByteCount,
}

fn yes() -> bool {
    true
}

fn day_seconds() -> u64 {
    86_400
}

/// Writes one disk of a recovery point to an image file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreDiskRequest {
    /// The disk: `point:<vm>/<point>/<disk>`; the disk may be left out where there is only one.
    pub reference: String,
    /// The copy to read instead of the vault: `<copy>`, or `<vault>/<copy>` where several have the name.
    #[serde(default)]
    pub from_copy: Option<String>,
    /// The file to write, as an absolute path.
    pub path: String,
    /// Its format; defaults to raw.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub format: Option<DiskFormat>,
    /// Replace the file where it exists. The disk of a known VM is overwritten in place, where it differs.
    #[serde(default)]
    pub replace: bool,
    /// In place only: do not back the VM up first.
    #[serde(default)]
    pub no_safety_point: bool,
    /// In place only: compare and write nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// In place only: where the VM runs, ask its guest to shut down first, and start it again afterwards.
    #[serde(default)]
    pub stop: bool,
    /// With `stop`: power the VM off where its guest has not shut down in time.
    #[serde(default)]
    pub force: bool,
}

/// A VM that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoredVmView {
    /// The VM's id.
    pub vm_id: String,
    /// The VM's name.
    pub vm_name: String,
    /// The point it was restored from.
    pub point_id: String,
    /// Its disks.
    pub disks: Vec<RestoredDiskView>,
    /// Whether it was started.
    pub started: bool,
    /// The job that makes its disks whole, where it runs from the point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub hydration_job: Option<JobId>,
}

/// A VM of which disks were overwritten in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoredInPlaceView {
    /// The VM's id.
    pub vm_id: String,
    /// The VM's name.
    pub vm_name: String,
    /// The point it was restored from.
    pub point_id: String,
    /// The point of what it was before; none where nobody wanted it.
    pub safety_point_id: Option<String>,
    /// The name of the snapshot of what it was before, where it became a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety_snapshot: Option<String>,
    /// The disks; what was written of each is what differed.
    pub disks: Vec<RestoredDiskView>,
    /// Whether it was only compared.
    pub dry_run: bool,
    /// Whether it was started.
    pub started: bool,
}

/// A disk that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoredDiskView {
    /// The disk's name within the VM.
    pub name: String,
    /// The file.
    pub path: String,
    /// Its format.
    #[schema(value_type = String)]
    pub format: DiskFormat,
    /// Its virtual size.
    #[schema(value_type = u64)]
    pub size_bytes: ByteCount,
    /// Bytes written; holes are not.
    #[schema(value_type = u64)]
    pub written_bytes: ByteCount,
}
