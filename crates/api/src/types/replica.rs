//! Replicas: VMs of other sites whose journals this one keeps.

use model::{ByteCount, JournalId, Timestamp, VmId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ReplicaTargetView;

/// A VM of another site whose journal this one keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaView {
    /// The journal.
    #[schema(value_type = String)]
    pub journal_id: JournalId,
    /// The VM at its site.
    #[schema(value_type = String)]
    pub vm_id: VmId,
    /// What it is called there.
    pub vm_name: String,
    /// The site, as it is called here.
    pub site: String,
    /// How far its failover is.
    pub stage: ReplicaStage,
    /// How the replication stands.
    pub state: ReplicaState,
    /// What there is to say of that.
    pub reason: Option<String>,
    /// How often the right to write the VM's disks has changed hands.
    pub generation: u64,
    /// How much would be lost now, in seconds: the age of the newest moment that is durable here. Null where nothing has come,
    /// or nothing more comes.
    pub rpo_seconds: Option<u64>,
    /// When the newest record that is durable here was taken in, by the source's clock.
    #[schema(value_type = Option<String>)]
    pub newest_at: Option<Timestamp>,
    /// The oldest time that can be gone back to, by the source's clock.
    #[schema(value_type = Option<String>)]
    pub reaches_back_to: Option<Timestamp>,
    /// Since when writes are missing; until they are copied, newer moments cannot be shown.
    #[schema(value_type = Option<String>)]
    pub not_whole_since: Option<Timestamp>,
    /// Bytes of its files.
    #[schema(value_type = u64)]
    pub size_bytes: ByteCount,
    /// How long moments stay reachable, in seconds.
    pub retention_seconds: u64,
    /// Whether that was set here, so that the source's wish counts no more.
    pub retention_is_set: bool,
    /// Its disks now.
    pub disks: Vec<ReplicaDiskView>,
    /// How the VM would be here.
    pub target: ReplicaTargetView,
    /// The failover, once one has begun.
    pub failover: Option<FailoverView>,
    /// Tests of it, newest first.
    pub tests: Vec<FailoverTestView>,
}

/// How far the failover of a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReplicaStage {
    /// The VM runs at its site.
    Protected,
    /// It is being made here, or an attempt broke off.
    FailingOver,
    /// It runs here, and may still be made from another moment.
    FailedOver,
    /// It runs here for good.
    Committed,
    /// A newer server says what this client does not know.
    #[serde(other)]
    Unknown,
}

/// How a replication stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReplicaState {
    /// Nothing has come yet.
    Waiting,
    /// It comes, and there is no moment yet at which the VM is whole.
    Copying,
    /// All that is written comes.
    Receiving,
    /// Nothing has come for a while.
    Behind,
    /// Writes are missing that have not been copied yet; older moments can be shown.
    NotWhole,
    /// The VM was failed over: nothing more is taken from its site.
    Fenced,
    /// The source has ended it.
    Ended,
    /// What is here cannot be used.
    Damaged,
    /// A newer server says what this client does not know.
    #[serde(other)]
    Unknown,
}

/// A disk of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaDiskView {
    /// The disk.
    pub name: String,
    /// Its size.
    #[schema(value_type = u64)]
    pub size_bytes: ByteCount,
    /// Whether everything is here that was written to it.
    pub is_whole: bool,
}

/// A failover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailoverView {
    /// The VM here.
    #[schema(value_type = String)]
    pub vm_id: VmId,
    /// When it began.
    #[schema(value_type = String)]
    pub begun_at: Timestamp,
    /// The record after which the VM was made.
    pub sequence: Option<u64>,
    /// When it was committed.
    #[schema(value_type = Option<String>)]
    pub committed_at: Option<Timestamp>,
    /// What the VM was here before, as long as that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<ReplacedVmView>,
}

/// A test of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailoverTestView {
    /// The VM of the test.
    #[schema(value_type = String)]
    pub vm_id: VmId,
    /// What it is called.
    pub vm_name: String,
    /// The moment that it was made from, by the source's clock.
    #[schema(value_type = String)]
    pub moment_at: Timestamp,
    /// When it began.
    #[schema(value_type = String)]
    pub begun_at: Timestamp,
    /// When everything of it was removed.
    #[schema(value_type = Option<String>)]
    pub cleaned_up_at: Option<Timestamp>,
    /// What was found.
    pub verdict: Option<String>,
}

/// A checkpoint of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaPointView {
    /// The record after which it is.
    pub sequence: u64,
    /// When it was marked, by the source's clock.
    #[schema(value_type = String)]
    pub time: Timestamp,
    /// Why.
    pub kind: ReplicaPointKind,
    /// Its name; empty for one that the clock made.
    pub name: String,
    /// What names it in commands.
    pub reference: String,
}

/// Why a moment was marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReplicaPointKind {
    /// By the clock.
    Crash,
    /// While the applications in the guest held still.
    Application,
    /// Somebody gave it a name.
    Bookmark,
    /// At the same moment as in other VMs.
    Group,
    /// A newer server says what this client does not know.
    #[serde(other)]
    Unknown,
}

/// Sets how long the moments of a replica stay reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetainReplica {
    /// In seconds: a minute to 30 days.
    pub retention_seconds: u64,
}

/// Makes a VM from a moment of a replica, to see whether it works. Nothing that it does reaches the replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestFailover {
    /// The moment: latest, latest-application, a time, a checkpoint's name or #NUMBER.
    pub point: String,
    /// What the VM is to be called; test-VM-NUMBER by default.
    #[serde(default)]
    pub name: Option<String>,
    /// The bridge of the host that all its networks are connected to; by default it reaches nothing.
    #[serde(default)]
    pub bridge: Option<String>,
}

/// Makes a recovery point of a moment of a replica. The guest is not touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackUpReplica {
    /// The moment: latest, latest-application, a time, a checkpoint's name or #NUMBER.
    pub point: String,
    /// The vault that the point goes to, by name or id.
    pub vault: String,
    /// A word to find the point by.
    #[serde(default)]
    pub label: Option<String>,
}

/// Removes the VMs of tests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CleanUpTests {
    /// What was found.
    #[serde(default)]
    pub verdict: Option<String>,
}

/// Has a replicated VM run at this site, or from another moment than it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailOver {
    /// The moment: latest, latest-application, a time, a checkpoint's name or #NUMBER.
    pub point: String,
    /// The most bytes that are copied into its disks in a second; as fast as it goes by default.
    #[serde(default)]
    pub rate_limit_bytes_per_second: Option<u64>,
}

/// What a failover, or another point, would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailoverPlanView {
    /// What the VM would be called.
    pub vm_name: String,
    /// The moment that it would be made from, by the source's clock.
    #[schema(value_type = String)]
    pub moment_at: Timestamp,
    /// The record after which that is.
    pub sequence: u64,
    /// What would be lost, each in a sentence.
    pub lost: Vec<String>,
    /// What the VM was here before, whose place it would take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<ReplacedVmView>,
}

/// What a VM was at a site before a failover has it come back. It is kept until the failover is committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplacedVmView {
    /// What it was called.
    pub vm_name: String,
    /// The files that the commit removes.
    pub disks_that_go: Vec<String>,
    /// Those of its files that stay: somebody else starts the VM, or something else needs them.
    pub disks_that_stay: Vec<String>,
}

/// A moment of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaMomentView {
    /// What names it for as long as it can be shown.
    pub reference: String,
    /// When its last record was taken in, by the source's clock.
    #[schema(value_type = String)]
    pub time: Timestamp,
    /// The VM's disks then.
    pub disks: Vec<ReplicaDiskView>,
}
