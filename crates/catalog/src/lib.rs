//! The catalog: what a site knows and must not forget, in SQL.
//!
//! Known VMs and disks, known vaults and their copies, how VMs are protected, policies, snapshots, peers, replications, replicas, recovery plans, their runs and drills, runbooks, and jobs. Recovery points
//! are not here: they live in vaults, and every one of them restores without a catalog. Each method is one statement or transaction, durable when
//! it returns.

mod copy;
mod dependent_disk;
mod disk;
mod drill;
mod error;
mod group;
mod job;
mod pack_check;
mod peer;
mod plan;
mod point_test;
mod policy;
mod protection;
mod replaced_vm;
mod replica;
mod replica_point;
mod replica_settings;
mod replication;
mod row;
mod runbook;
mod seed;
mod snapshot;
mod snapshot_copy;
mod store;
mod upload;
mod vault;
mod vm;

pub use copy::{CopyFailure, KnownCopy};
pub use dependent_disk::{DependentDisk, ImageSource};
pub use disk::KnownDisk;
pub use drill::{DrillSchedule, KnownDrill};
pub use error::{Error, ErrorKind, Result};
pub use group::{KnownGroup, KnownReplicaGroup};
pub use job::Job;
pub use pack_check::PackCheck;
pub use peer::{KnownPeer, OpenToken, PeerStanding};
pub use plan::{KnownPlan, KnownPlanRun, PlanDelivery};
pub use point_test::PointTest;
pub use policy::{FailedRun, KnownPolicy, PolicyFollower, PolicyRun, RunOutcome};
pub use replaced_vm::ReplacedVm;
pub use replica::{FailoverTest, Fence, KnownReplica};
pub use replica_point::ReplicaPoint;
pub use replica_settings::{NetworkMap, ReplicaSettings};
pub use replication::KnownReplication;
pub use runbook::KnownRunbook;
pub use seed::{ReplicaSeed, SeedOutcome, SeedSource};
pub use snapshot::{KnownSnapshot, SnapshotFilter};
pub use snapshot_copy::{CopyPlace, SnapshotCopy, SnapshotCopyState};
pub use store::Catalog;
pub use upload::UploadedBlock;
pub use vault::KnownVault;
pub use vm::{HalfRestored, KnownVm, Origin};

#[cfg(test)]
mod tests;
