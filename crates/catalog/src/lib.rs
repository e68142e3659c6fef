//! The catalog: what a site knows and must not forget, in SQL.
//!
//! Known VMs and disks, known vaults and their copies, how VMs are protected, policies, snapshots, peers, replications, replicas, and jobs. Recovery points
//! are not here: they live in vaults, and every one of them restores without a catalog. Each method is one statement, durable when
//! it returns.

mod copy;
mod dependent_disk;
mod disk;
mod error;
mod group;
mod job;
mod pack_check;
mod peer;
mod point_test;
mod policy;
mod protection;
mod replica;
mod replication;
mod row;
mod snapshot;
mod snapshot_copy;
mod store;
mod upload;
mod vault;
mod vm;

pub use copy::{CopyFailure, KnownCopy};
pub use dependent_disk::{DependentDisk, ImageSource};
pub use disk::KnownDisk;
pub use error::{Error, ErrorKind, Result};
pub use group::{KnownGroup, KnownReplicaGroup};
pub use job::Job;
pub use pack_check::PackCheck;
pub use peer::{KnownPeer, OpenToken, PeerStanding};
pub use point_test::PointTest;
pub use policy::{FailedRun, KnownPolicy, PolicyFollower, PolicyRun, RunOutcome};
pub use replica::{FailoverTest, Fence, KnownReplica};
pub use replication::KnownReplication;
pub use snapshot::{KnownSnapshot, SnapshotFilter};
pub use snapshot_copy::{CopyPlace, SnapshotCopy, SnapshotCopyState};
pub use store::Catalog;
pub use upload::UploadedBlock;
pub use vault::KnownVault;
pub use vm::{HalfRestored, KnownVm, Origin};

#[cfg(test)]
mod tests;
