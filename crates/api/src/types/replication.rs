//! Replication of VMs to other sites.

use model::{ByteCount, JournalId, RateWindow, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Has a VM replicated to another site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartReplication {
    /// The other site, by name or id.
    pub to: String,
    /// How far back the other site can go, in hours; by default 24, at most 30 days.
    #[serde(default)]
    pub retention_hours: Option<u32>,
    /// How often what was written since is copied, in seconds: 5 at least, 24 hours at most. By default every write is taken.
    #[serde(default)]
    pub interval_seconds: Option<u32>,
    /// How often there is a checkpoint that is consistent for applications, in seconds: 60 at least; by default never.
    #[serde(default)]
    pub application_every_seconds: Option<u32>,
    /// The fastest rate at which is sent, in bytes a second; by default as fast as it goes.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    pub rate_limit_bytes_per_second: Option<ByteCount>,
    /// Rates for parts of the day, as `08:00-18:00=10MiB` or `22:00-06:00=full`, by the server's clock. The first that holds
    /// the time of day counts.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub rate_windows: Vec<RateWindow>,
    /// The journal's share of the local disk, in bytes; by default 32 GiB.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    pub journal_size_bytes: Option<ByteCount>,
    /// What the disks begin with at the other site, as a reference there: a point or a snapshot of the VM, or a replica of it. By
    /// default what it finds by itself: what the VM had there before it was failed over, or an earlier replica.
    #[serde(default)]
    pub seed: Option<String>,
    /// What is left out is as it was when the VM was replicated to here, before it was failed over; 0 is for none, as when it is
    /// changed.
    #[serde(default)]
    pub as_before: bool,
}

/// Changes how a VM is replicated. What is left out stays as it is; 0 takes a limit or a schedule away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditReplication {
    /// How far back the other site can go, in hours.
    #[serde(default)]
    pub retention_hours: Option<u32>,
    /// How often what was written since is copied, in seconds. Refused where every write is taken.
    #[serde(default)]
    pub interval_seconds: Option<u32>,
    /// How often there is a checkpoint that is consistent for applications, in seconds; 0 for never.
    #[serde(default)]
    pub application_every_seconds: Option<u32>,
    /// The fastest rate at which is sent, in bytes a second; 0 for as fast as it goes.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    pub rate_limit_bytes_per_second: Option<ByteCount>,
    /// Rates for parts of the day; an empty list takes them away.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub rate_windows: Option<Vec<RateWindow>>,
    /// The journal's share of the local disk, in bytes. The tap starts anew for it: what is written meanwhile is read again.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    pub journal_size_bytes: Option<ByteCount>,
}

/// Ends the replication of a VM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopReplication {
    /// Also delete what the other site has.
    #[serde(default)]
    pub delete_replica: bool,
}

/// What became of the end of a replication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoppedReplicationView {
    /// The VM, by name.
    pub vm: String,
    /// The other site.
    pub site: String,
    /// Whether the other site was told.
    pub is_told: bool,
    /// What could not be done, and where it is to be done by hand.
    pub problems: Vec<String>,
}

/// A VM that was stopped here and runs at the other site from its last write on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandedOverView {
    /// The VM, by name.
    pub vm: String,
    /// The site that has it now.
    pub site: String,
    /// The last record of its journal; the other site has all of them. None where it was asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<u64>,
    /// The job at the other site that makes and starts the VM; none where it had begun before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_there: Option<String>,
    /// That both sites have read its disks and found the same; none where that was left out, or was done when it was asked for
    /// before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofView>,
}

/// Disks that two sites have read, and found the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProofView {
    /// The disks.
    pub disks: Vec<ProvenDiskView>,
    /// How long that took.
    pub took_ms: u64,
}

/// A disk that two sites have read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProvenDiskView {
    /// The disk.
    pub disk: String,
    /// Its size.
    pub size_bytes: u64,
    /// The digest of all that it holds.
    pub digest: String,
}

/// Names this moment of a replicated VM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeCheckpoint {
    /// What it is called; 255 bytes at most.
    #[serde(default)]
    pub name: String,
    /// Have the guest's file systems and applications hold still for it.
    #[serde(default)]
    pub application: bool,
}

/// A checkpoint that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointView {
    /// The VM, by name.
    pub vm: String,
    /// Its record in the journal.
    pub sequence: u64,
    /// What it is called.
    pub name: String,
    /// `application` or `bookmark`.
    pub kind: String,
    /// When it was made.
    #[schema(value_type = String)]
    pub made_at: Timestamp,
}

/// How a replication stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReplicationState {
    /// The tap is on its way.
    Starting,
    /// Everything is copied for the first time.
    Copying,
    /// Every write is taken, and every second is a checkpoint.
    Protected,
    /// Writes are tracked and not taken, or the other site gets none.
    Degraded,
    /// What was missed is copied.
    Resyncing,
    /// Somebody wanted it so.
    Paused,
    /// The VM does not run: nothing is written that could be missed.
    VmStopped,
    /// The other site has taken the VM over.
    Fenced,
}

/// How a replication is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplicationHealth {
    /// As it should be.
    Ok,
    /// It protects, but somebody should look.
    Warning,
    /// It does not protect, or not as well as it should.
    Critical,
}

/// Why a replication is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthReasonView {
    /// How bad.
    pub health: ReplicationHealth,
    /// What is so.
    pub what: String,
    /// What to do.
    pub guidance: String,
}

/// A VM that is replicated to another site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReplicationView {
    /// The VM, by name.
    pub vm: String,
    /// The other site.
    pub site: String,
    /// The consistency group that the VM is in.
    #[serde(default)]
    pub group: Option<String>,
    /// What the journal is called on both sides.
    #[schema(value_type = String)]
    pub journal_id: JournalId,
    /// How it stands.
    pub state: ReplicationState,
    /// Why, where that is not plain.
    pub why: Option<String>,
    /// Since when.
    #[schema(value_type = String)]
    pub since: Timestamp,
    /// Bytes that were copied of what the journal lacks, while it is copied.
    pub copied_bytes: Option<u64>,
    /// Bytes that are to be copied in all.
    pub to_copy_bytes: Option<u64>,
    /// Of what was last to be copied, bytes that the other site had already, so that nothing of them was sent.
    #[serde(default)]
    pub had_bytes: u64,
    /// Bytes of the journal that were sent since the server started.
    #[serde(default)]
    pub sent_bytes: u64,
    /// What the disks have begun with at the other site, where that is not nothing, as far as it is known since the server started.
    #[serde(default)]
    pub seed: Option<String>,
    /// Why they have not, or not all of them.
    #[serde(default)]
    pub seed_problem: Option<String>,
    /// How it is.
    pub health: ReplicationHealth,
    /// Why it is not better, worst first.
    pub reasons: Vec<HealthReasonView>,
    /// How old the newest checkpoint is that the other site durably has, in seconds: what would be lost now.
    pub rpo_seconds: Option<f64>,
    /// What that did not exceed in 99 of 100 looks of the last 24 hours, in seconds.
    pub rpo_p99_seconds: Option<f64>,
    /// The newest checkpoint that the other site durably has.
    #[schema(value_type = Option<String>)]
    pub newest_checkpoint_at: Option<Timestamp>,
    /// The oldest moment that the other site can go back to.
    #[schema(value_type = Option<String>)]
    pub reaches_back_to: Option<Timestamp>,
    /// Bytes that were taken and that the other site does not have.
    pub lag_bytes: u64,
    /// How far the other site is behind, in seconds.
    pub lag_seconds: Option<f64>,
    /// Bytes of the journal here.
    pub journal_bytes: u64,
    /// The journal's share of the local disk, in bytes.
    pub journal_size_bytes: u64,
    /// Bytes of the replica at the other site.
    pub replica_bytes: u64,
    /// What the guest writes, in bytes a second.
    pub write_bytes_per_second: u64,
    /// What is sent, in bytes a second.
    pub link_bytes_per_second: u64,
    /// When the other site has everything, in seconds, at these rates; null when it never comes so far.
    pub in_sync_in_seconds: Option<u64>,
    /// How often writes were missed since the server started, because the tap broke, or an epoch came to nothing.
    pub breaks: u64,
    /// How far back the other site can go, in hours.
    pub retention_hours: u32,
    /// How often what was written since is copied, in seconds; null where every write is taken.
    #[serde(default)]
    pub interval_seconds: Option<u32>,
    /// How often there is a checkpoint that is consistent for applications, in seconds.
    pub application_every_seconds: Option<u32>,
    /// The last checkpoint that was consistent for applications.
    #[schema(value_type = Option<String>)]
    pub application_checkpoint_at: Option<Timestamp>,
    /// The fastest rate at which is sent, in bytes a second.
    pub rate_limit_bytes_per_second: Option<u64>,
    /// Rates for parts of the day.
    #[schema(value_type = Vec<String>)]
    pub rate_windows: Vec<RateWindow>,
    /// How often the right to write the VM's disks had changed hands.
    pub generation: u64,
    /// Since when it is replicated.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
}
