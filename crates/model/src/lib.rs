//! The vocabulary of Holdfast as pure data and pure functions.
//!
//! This crate never does I/O, never takes the time, never draws a random number. Everything here can be serialised,
//! but nothing here *is* a durable or a wire format: `vault`, `catalog` and `api` own theirs.

mod consistency;
mod definition;
mod id;
mod image_format;
mod job;
mod name;
mod network;
mod peer_address;
mod point;
mod protection;
mod reference;
mod replication;
mod run;
mod size;
mod snapshot;
mod time;
mod vault_settings;

pub use consistency::{Consistency, ParseConsistencyError};
pub use definition::{
    DiskBus, DiskDefinition, DiskFormat, Firmware, NetworkDefinition, NetworkKind, VmDefinition,
};
pub use id::{
    CaptureId, DiskId, GroupId, JobId, JournalId, PairingId, ParseIdError, PlanRunId, PointId, SiteId,
    SnapshotId, TransferId, VaultId, VmId,
};
pub use image_format::ImageFormat;
pub use job::{JobKind, JobState, Progress};
pub use name::{
    CopyName, DiskName, GroupName, NameError, PlanName, PolicyName, SiteDiskName, SiteName, SnapshotName,
    VaultName, VmName,
};
pub use network::{NetworkConnection, ParseNetworkConnectionError};
pub use peer_address::{ParsePeerAddressError, PeerAddress};
pub use point::{CaptureCost, ChangeSource, ConsistencyReached, DiskSummary, PointSummary};
pub use protection::ProtectionSettings;
pub use reference::{
    ImageReference, MomentSelector, ParseReferenceError, PointReference, PointSelector, ReplicaReference,
    SnapshotReference,
};
pub use replication::{ParseRateWindowError, RateWindow, ReplicationSettings};
pub use run::RunKind;
pub use size::{ByteCount, ParseByteCountError};
pub use snapshot::{SnapshotKind, SnapshotState};
pub use time::Timestamp;
pub use vault_settings::{Immutability, VaultSettings};

#[cfg(test)]
mod tests;
