//! How the VM that a replica becomes is to be at the site that keeps it.

use model::ByteCount;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the VM that a replica becomes is here, were it made now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaTargetView {
    /// What it is called after a failover.
    pub name: String,
    /// Where that comes from.
    pub name_from: SettingOrigin,
    /// Its virtual CPUs.
    pub cpus: u32,
    /// Where that comes from.
    pub cpus_from: SettingOrigin,
    /// Its memory.
    #[schema(value_type = u64)]
    pub memory_bytes: ByteCount,
    /// Where that comes from.
    pub memory_from: SettingOrigin,
    /// The directory in which its disks get one of their own.
    pub storage: String,
    /// Where that comes from.
    pub storage_from: SettingOrigin,
    /// Its network interfaces.
    pub networks: Vec<ReplicaNetworkView>,
    /// What a failover would be refused for as things are, each in a sentence.
    pub problems: Vec<String>,
}

/// What a network interface of a VM is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaNetworkView {
    /// Its place among the VM's interfaces, from 0.
    pub number: u32,
    /// Its address.
    pub mac: Option<String>,
    /// What it is connected to at the source: a bridge, or a kind of network.
    pub at_source: String,
    /// What it is connected to here after a failover.
    pub connected_to: String,
    /// Where that comes from.
    pub connected_from: SettingOrigin,
    /// What it is connected to here in a test.
    pub test_connected_to: String,
    /// Where that comes from.
    pub test_connected_from: SettingOrigin,
}

/// Where a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SettingOrigin {
    /// Set for this replica, here.
    Set,
    /// What this site says of the networks of the other one.
    Mapped,
    /// As at the source.
    Source,
    /// Nobody has said anything.
    Default,
    /// A newer server says what this client does not know.
    #[serde(other)]
    Unknown,
}

/// Changes how the VM that a replica becomes is to be here. What is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditReplica {
    /// What it is called after a failover.
    #[serde(default)]
    pub name: Option<String>,
    /// Its virtual CPUs.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// Its memory.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    pub memory_bytes: Option<ByteCount>,
    /// The directory in which its disks get one of their own.
    #[serde(default)]
    pub storage: Option<String>,
    /// What its network interfaces are connected to.
    #[serde(default)]
    pub networks: Vec<ConnectNetwork>,
    /// Which of these are to be as if nobody had set them. Done first.
    #[serde(default)]
    pub reset: Vec<ReplicaSetting>,
}

/// Connects a network interface of a replica's VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectNetwork {
    /// Its place among the VM's interfaces, from 0.
    pub number: u32,
    /// A bridge of the host, or `isolated`; null is as if nobody had said.
    pub to: Option<String>,
    /// Whether this is for tests.
    #[serde(default)]
    pub is_test: bool,
}

/// A setting of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaSetting {
    /// What the VM is called.
    Name,
    /// Its virtual CPUs.
    Cpus,
    /// Its memory.
    Memory,
    /// Where its disks go.
    Storage,
    /// All its network interfaces, in earnest.
    Networks,
    /// The same in tests.
    TestNetworks,
}

/// Says what bridges of another site are here, for VMs that are replicated from there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MapNetworks {
    /// One for each bridge; the others stay.
    pub networks: Vec<MapNetwork>,
}

/// Says what a bridge of another site is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MapNetwork {
    /// Its name there.
    pub theirs: String,
    /// A bridge of the host here, or `isolated`; null is as if nobody had said.
    pub ours: Option<String>,
    /// Whether this is for tests.
    #[serde(default)]
    pub is_test: bool,
}

/// What a bridge of another site is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MappedNetworkView {
    /// Its name there.
    pub theirs: String,
    /// What it is here; null is a bridge of the same name.
    pub ours: Option<String>,
    /// What it is in tests; null is isolated.
    pub test_ours: Option<String>,
}
