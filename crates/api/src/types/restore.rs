//! Restores.

use model::{ByteCount, DiskFormat, JobId, VmDefinition};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Builds a new VM from a recovery point.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreVmRequest {
    /// The moment: `point:<vm>/<point>` or `snapshot:<name>`.
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

/// Builds a new VM on an image at once; its disks become whole by and by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVm {
    /// The image: `point:<vm>/<point>`, `snapshot:<name>`, or `file:<path>`, which must stay as it is until the disks are whole.
    pub reference: String,
    /// The copy to read instead of the vault: `<copy>`, or `<vault>/<copy>` where several have the name.
    #[serde(default)]
    pub from_copy: Option<String>,
    /// The new VM's name; defaults to the definition's, or to that of the point's VM, where that is free.
    #[serde(default)]
    pub name: Option<String>,
    /// What the VM is, where the image does not tell. Its one disk without a path is the image's; one without any disks gets
    /// it as its only one.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub definition: Option<VmDefinition>,
    /// The directory for its disks; defaults to one in the site's data directory.
    #[serde(default)]
    pub directory: Option<String>,
    /// Keep the MAC addresses and the UUID, for a VM that takes the old one's place. Otherwise both are new.
    #[serde(default)]
    pub keep_identity: bool,
    /// Let the guest reach nothing over its networks.
    #[serde(default)]
    pub isolated: bool,
    /// Make the disks whole, also while the VM runs. Otherwise it depends on the image until it is hydrated.
    #[serde(default = "yes")]
    pub hydrate: bool,
    /// The most that is copied in a second, in bytes.
    #[serde(default)]
    pub rate_limit_bytes_per_second: Option<u64>,
    /// How long the guest waits while the image cannot be read; then it sees errors of its disk. In seconds; a day by default.
    #[serde(default = "day_seconds")]
    pub wait_limit_seconds: u64,
    /// Start the VM.
    #[serde(default)]
    pub start: bool,
}

/// Makes disks whole that read from an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HydrateRequest {
    /// The most that is copied in a second, in bytes.
    #[serde(default)]
    pub rate_limit_bytes_per_second: Option<u64>,
}

/// Disks that are whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HydratedView {
    /// The name of the VM that has them, or of the one disk.
    #[serde(alias = "vm_name")]
    pub name: String,
    /// The size of the disks that became whole.
    #[schema(value_type = u64)]
    pub whole_bytes: ByteCount,
}

pub(super) fn yes() -> bool {
    true
}

pub(super) fn day_seconds() -> u64 {
    86_400
}

/// Writes one disk of a recovery point to an image file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreDiskRequest {
    /// The disk: `point:<vm>/<point>/<disk>` or `snapshot:<name>/<disk>`; the disk may be left out where there is only one.
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
    /// The point it was restored from; none for another image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_id: Option<String>,
    /// The same as a reference, such as `point:web-1/8f3k` or `snapshot:monday`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Its disks.
    pub disks: Vec<RestoredDiskView>,
    /// Whether it was started.
    pub started: bool,
    /// The job that makes its disks whole, where they read from the image at first.
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
    /// The same as a reference, such as `point:web-1/8f3k` or `snapshot:monday`.
    #[serde(default)]
    pub reference: String,
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

/// Puts files of an image into a running guest, through its agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreFilesRequest {
    /// The image: `point:<vm>/<point>[/<disk>]` or `file:<path>`.
    pub reference: String,
    /// The copy to read instead of the vault: `<copy>`, or `<vault>/<copy>` where several have the name.
    #[serde(default)]
    pub from_copy: Option<String>,
    /// Files, and directories with all that is below them: `/<volume>/<path>`.
    pub paths: Vec<String>,
    /// The VM, by name or id. It must run, and have a guest agent.
    pub vm: String,
    /// The directory in the guest that they go to. Where it is left out they go to their own places, which are known of points
    /// of the VM itself, in the volume with the system's root.
    #[serde(default)]
    pub to: Option<String>,
    /// Replace files that exist. Otherwise they are kept.
    #[serde(default)]
    pub overwrite: bool,
    /// Look, count and write nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was put into a guest; of a dry run, what would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoredFilesView {
    /// The VM's name.
    pub vm_name: String,
    /// The directory in the guest that they went to; none for their own places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Files.
    pub files: u64,
    /// Directories that were made.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// The length of the files.
    #[schema(value_type = u64)]
    pub written_bytes: ByteCount,
    /// Files and links that exist and were kept.
    pub kept: u64,
    /// What could not be restored; the job's warnings say why.
    pub failed: u64,
    /// Whether nothing was written.
    pub dry_run: bool,
}
