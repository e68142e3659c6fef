//! VMs and their protection.

use model::{ByteCount, Consistency, DiskFormat, JobId, Timestamp, VmDefinition, VmId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FollowedPolicyView, PointView};

/// Makes a VM known. Exactly one of `definition` and `qmp` is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddVm {
    /// The VM's name; defaults to the definition's, or to what QEMU says.
    #[serde(default)]
    pub name: Option<String>,
    /// A VM that Holdfast starts and stops. Paths are absolute.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub definition: Option<VmDefinition>,
    /// The QMP socket of a VM that somebody else started.
    #[serde(default)]
    pub qmp: Option<String>,
    /// A second QMP socket of that VM, for commands out of band.
    #[serde(default)]
    pub qmp_out_of_band: Option<String>,
    /// The guest agent's socket of that VM.
    #[serde(default)]
    pub agent: Option<String>,
}

/// Stops a VM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopVm {
    /// End it as a power cut would, rather than ask the guest.
    #[serde(default)]
    pub force: bool,
}

/// A VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmView {
    /// The VM.
    #[schema(value_type = String)]
    pub id: VmId,
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub origin: VmOriginView,
    /// running, paused, stopped or unreachable.
    pub power: String,
    /// Why it is unreachable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable_because: Option<String>,
    /// The hypervisor and its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<String>,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    #[schema(value_type = u64)]
    pub memory_bytes: ByteCount,
    /// Its disks.
    pub disks: Vec<DiskView>,
    /// Its disks that read from images until they are whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependent_disks: Vec<DependentDiskView>,
    /// Its guest agent.
    pub agent: AgentView,
    /// What cannot be done with it and why.
    pub limits: Vec<String>,
    /// How it is protected; none when it is not.
    pub protection: Option<ProtectionView>,
    /// The policy that its snapshots follow; none where they are made by hand only.
    #[serde(default)]
    pub snapshot_policy: Option<FollowedPolicyView>,
    /// Its newest recovery point.
    pub latest_point: Option<PointView>,
    /// The restore in place that has overwritten a part of its disks. It is not started before another has finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_restored: Option<HalfRestoredView>,
    /// The job that works on it now.
    #[schema(value_type = Option<String>)]
    pub current_job: Option<JobId>,
}

/// A restore in place that has not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HalfRestoredView {
    /// The point that the disks were to become.
    pub point_id: String,
    /// The disks that are neither what they were nor what they were to be.
    pub disks: Vec<String>,
    /// The point of what they were before; none where nobody wanted it.
    pub safety_point_id: Option<String>,
    /// Since when.
    #[schema(value_type = String)]
    pub begun_at: Timestamp,
    /// What to do.
    pub hint: String,
}

/// Where a VM comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VmOriginView {
    /// Started by somebody else.
    External,
    /// Started by Holdfast.
    Managed,
}

/// A disk that reads from an image wherever it was not written yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DependentDiskView {
    /// The disk's name.
    pub disk: String,
    /// The image, in words.
    pub reads_from: String,
    /// Why it cannot be read now; none when it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A disk of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskView {
    /// The disk's name within the VM.
    pub name: String,
    /// Its image file or device.
    pub path: String,
    /// Its format.
    #[schema(value_type = String)]
    pub format: DiskFormat,
    /// Its virtual size.
    #[schema(value_type = u64)]
    pub size_bytes: ByteCount,
    /// Whether its changes are tracked, in words.
    pub tracking: String,
}

/// The state of a guest agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentView {
    /// Whether it answers.
    pub answers: bool,
    /// Its version, or why it does not answer.
    pub detail: String,
}

/// Protects a VM, or changes how it is protected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProtectRequest {
    /// The vault, by name or id.
    pub vault: String,
    /// The policy that backs it up by itself, by name; without it, backups are made by hand only.
    #[serde(default)]
    pub policy: Option<String>,
    /// The consistency to ask for: application (default), file-system or crash.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub consistency: Option<Consistency>,
    /// Fail a backup that cannot reach it, rather than take a weaker point.
    #[serde(default)]
    pub strict: bool,
    /// The longest freeze of the guest's file systems, in milliseconds.
    #[serde(default)]
    pub freeze_limit_ms: Option<u32>,
    /// The fastest rate at which the guest's disks are read, in bytes a second.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    pub read_limit_bytes_per_second: Option<ByteCount>,
    /// A program on the host that runs before each capture.
    #[serde(default)]
    pub pre_script: Option<String>,
    /// A program on the host that runs once the moment is fixed.
    #[serde(default)]
    pub post_script: Option<String>,
}

/// How a VM is protected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProtectionView {
    /// The vault's name.
    pub vault: String,
    /// The policy that it follows; none where backups are made by hand only.
    #[serde(default)]
    pub policy: Option<FollowedPolicyView>,
    /// The consistency asked for.
    #[schema(value_type = String)]
    pub consistency: Consistency,
    /// Whether a weaker point is refused.
    pub strict: bool,
    /// The longest freeze, in milliseconds.
    pub freeze_limit_ms: u32,
    /// The fastest rate of reading, in bytes a second.
    #[schema(value_type = Option<u64>)]
    pub read_limit_bytes_per_second: Option<ByteCount>,
    /// The program that runs before each capture.
    pub pre_script: Option<String>,
    /// The program that runs once the moment is fixed.
    pub post_script: Option<String>,
}

/// Backs up a VM now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// The consistency to ask for this time.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub consistency: Option<Consistency>,
    /// A word to find the point by.
    #[serde(default)]
    pub label: Option<String>,
}
