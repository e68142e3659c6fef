//! Consistency groups: replicated VMs that share moments.

use model::{GroupId, JournalId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    FailoverPlanView, HandedOverView, ReplicaPointKind, ReplicaStage, ReplicaState, ReplicationState,
};

/// Makes a consistency group of VMs that are replicated to one site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateReplicationGroup {
    /// Its name.
    pub name: String,
    /// The VMs, by name or id: 64 at most.
    pub vms: Vec<String>,
    /// How often a shared checkpoint is made, in milliseconds: 100 to 3,600,000; by default 1,000.
    #[serde(default)]
    pub every_ms: Option<u32>,
}

/// Changes a consistency group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditReplicationGroup {
    /// How often a shared checkpoint is made, in milliseconds: 100 to 3,600,000.
    pub every_ms: u32,
}

/// Takes a VM into a consistency group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddGroupMember {
    /// The VM, by name or id.
    pub vm: String,
}

/// How a consistency group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReplicationGroupState {
    /// The other site has no shared checkpoint of this server yet.
    Starting,
    /// Shared checkpoints are made.
    Consistent,
    /// The last one could not be made.
    Degraded,
    /// A newer server says what this client does not know.
    #[serde(other)]
    Unknown,
}

/// A shared checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SharedCheckpointView {
    /// Its number in the group.
    pub number: u64,
    /// When it was made, by the source's clock.
    #[schema(value_type = String)]
    pub time: Timestamp,
}

/// A VM in a consistency group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicationGroupMemberView {
    /// The VM, by name.
    pub vm: String,
    /// How its replication stands.
    pub state: ReplicationState,
    /// Why, where that is not plain.
    pub why: Option<String>,
}

/// A consistency group of VMs that are replicated from here. What is counted is since the server started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReplicationGroupView {
    /// The group.
    #[schema(value_type = String)]
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// The site to which all members are replicated.
    pub site: String,
    /// Its VMs.
    pub members: Vec<ReplicationGroupMemberView>,
    /// How often a shared checkpoint is made, in milliseconds.
    pub every_ms: u32,
    /// How it stands.
    pub state: ReplicationGroupState,
    /// Why the last shared checkpoint could not be made, where it could not.
    pub why: Option<String>,
    /// The age of the newest shared checkpoint that the other site durably has of all members, in seconds.
    pub shared_rpo_seconds: Option<f64>,
    /// That checkpoint.
    pub newest_there: Option<SharedCheckpointView>,
    /// The newest that was made.
    pub newest: Option<SharedCheckpointView>,
    /// Shared checkpoints that were made.
    pub made: u64,
    /// Attempts that came to nothing.
    pub missed: u64,
    /// When the last of these was.
    #[schema(value_type = Option<String>)]
    pub last_missed_at: Option<Timestamp>,
    /// Why.
    pub last_missed_because: Option<String>,
    /// For how long acknowledgements of writes were held in half of the last thousand shared checkpoints, in microseconds.
    pub held_p50_us: Option<u64>,
    /// In 99 of 100.
    pub held_p99_us: Option<u64>,
    /// In all.
    pub held_longest_us: Option<u64>,
    /// Since when it is known.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
}

/// A shared checkpoint that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupCheckpointView {
    /// The group, by name.
    pub group: String,
    /// Its number in the group.
    pub number: u64,
    /// What it is called.
    pub name: String,
    /// Whether the applications in all guests held still for it.
    pub application: bool,
    /// When it was made.
    #[schema(value_type = String)]
    pub made_at: Timestamp,
}

/// The VMs of a group that were stopped here and run at the other site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandedOverGroupView {
    /// The group, by name.
    pub group: String,
    /// Its VMs.
    pub vms: Vec<HandedOverView>,
}

/// A replica in a consistency group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaGroupMemberView {
    /// The journal.
    #[schema(value_type = String)]
    pub journal_id: JournalId,
    /// What the VM is called at its site.
    pub vm_name: String,
    /// How far its failover is.
    pub stage: ReplicaStage,
    /// How the replication stands.
    pub state: ReplicaState,
}

/// A consistency group of replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaGroupView {
    /// The group.
    #[schema(value_type = String)]
    pub id: GroupId,
    /// What it is called at its site.
    pub name: String,
    /// The site, as it is called here.
    pub site: String,
    /// The replicas of its VMs.
    pub members: Vec<ReplicaGroupMemberView>,
    /// The newest moment that all of them share.
    pub newest: Option<SharedCheckpointView>,
    /// Its age in seconds: what would be lost of the group now.
    pub rpo_seconds: Option<u64>,
    /// Why there is none.
    pub problem: Option<String>,
}

/// A moment that all members of a group share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SharedPointView {
    /// Its number in the group.
    pub number: u64,
    /// When it was marked, by the source's clock.
    #[schema(value_type = String)]
    pub time: Timestamp,
    /// Why.
    pub kind: ReplicaPointKind,
    /// Its name; empty for one that the clock made.
    pub name: String,
    /// What names it behind `replica:VM/`.
    pub reference: String,
}

/// Makes a VM of each member of a group, all from one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestGroupFailover {
    /// The moment that all share: latest, latest-application, a time, a checkpoint's name or #NUMBER.
    pub point: String,
    /// The bridge of the host that all their networks are connected to; by default they reach nothing.
    #[serde(default)]
    pub bridge: Option<String>,
}

/// What a failover of a group, or another point of one, would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupFailoverPlanView {
    /// The group, by name.
    pub group: String,
    /// The number of the shared moment.
    pub number: u64,
    /// When it was marked, by the source's clock.
    #[schema(value_type = String)]
    pub moment_at: Timestamp,
    /// What it would do with each member that does not run from it already.
    pub members: Vec<FailoverPlanView>,
}
