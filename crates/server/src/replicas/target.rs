//! The VM that a replica becomes here: as its site describes it, but for what somebody here has said.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use api::{ReplicaNetworkView, ReplicaTargetView, SettingOrigin, shell_word};
use catalog::{KnownPeer, KnownReplica, NetworkMap, ReplicaSettings};
use model::{NetworkConnection, NetworkDefinition, NetworkKind, VmDefinition, VmId, VmName};
use recovery::Stage;

use crate::{
    failure::{Failure, Result},
    site::Site,
    vms,
};

/// What the VM is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It is to run here.
    Failover,
    /// To see whether it would.
    Test,
}

/// What was said here of the VM of a replica, and of the networks of its site.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    settings: ReplicaSettings,
    map: NetworkMap,
}

impl Target {
    /// What counts now.
    pub(crate) async fn of(site: &Site, replica: &KnownReplica) -> Result<Self> {
        Self::among(site, replica, &site.catalog.peers().await?).await
    }

    /// The same where the peers are at hand.
    pub(super) async fn among(site: &Site, replica: &KnownReplica, peers: &[KnownPeer]) -> Result<Self> {
        let peer = peers.iter().find(|peer| peer.id == replica.peer_id);
        Ok(Self {
            settings: site.catalog.replica_settings(replica.journal_id).await?,
            map: peer.map(|peer| peer.networks.clone()).unwrap_or_default(),
        })
    }

    /// The same as if it had been said, too, what these network interfaces are connected to.
    pub(crate) fn connected_to(mut self, networks: &BTreeMap<u32, NetworkConnection>) -> Self {
        self.settings.networks.extend(networks.clone());
        self
    }

    /// What the VM is called after a failover.
    pub(crate) fn name<'a>(&'a self, replica: &'a KnownReplica) -> &'a VmName {
        self.settings.name.as_ref().unwrap_or(&replica.vm_name)
    }

    /// Where disks are to go, where somebody has said so.
    pub(crate) fn storage(&self) -> Option<&Path> {
        self.settings.storage.as_deref()
    }

    /// The directory for the disks of a VM that is failed over with this generation, and for nothing else: no other VM has had any
    /// there, and neither has the same one before.
    pub(crate) fn directory(&self, site: &Site, vm_id: VmId, generation: u64) -> PathBuf {
        let storage = self.storage().map_or_else(|| site.directory.all_disks(), Path::to_owned);
        storage.join(format!("{vm_id}-{generation}"))
    }

    /// Makes of what the VM is at its site what it is to be here.
    pub(crate) fn shape(&self, definition: &mut VmDefinition, purpose: Purpose) {
        definition.cpus = self.settings.cpus.unwrap_or(definition.cpus);
        definition.memory = self.settings.memory_bytes.unwrap_or(definition.memory);
        for (number, network) in (0..).zip(&mut definition.networks) {
            if let (Some(connection), _) = self.connection(number, network, purpose) {
                connection.connect(network);
            }
        }
    }

    /// What an interface is connected to, and who says so; none is as at the source.
    fn connection(
        &self,
        number: u32,
        network: &NetworkDefinition,
        purpose: Purpose,
    ) -> (Option<NetworkConnection>, SettingOrigin) {
        let (settings, map) = match purpose {
            Purpose::Failover => (&self.settings.networks, &self.map.networks),
            Purpose::Test => (&self.settings.test_networks, &self.map.test_networks),
        };
        if let Some(set) = settings.get(&number) {
            return (Some(set.clone()), SettingOrigin::Set);
        }
        let bridge = network.bridge.as_ref().filter(|_| network.kind == NetworkKind::Bridge);
        match (bridge.and_then(|bridge| map.get(bridge)), purpose) {
            (Some(mapped), _) => (Some(mapped.clone()), SettingOrigin::Mapped),
            (None, Purpose::Failover) => (None, SettingOrigin::Source),
            (None, Purpose::Test) => (Some(NetworkConnection::Isolated), SettingOrigin::Default),
        }
    }

    /// Fails where this host lacks what a VM that was shaped needs.
    pub(crate) fn check(&self, site: &Site, replica: &KnownReplica, shaped: &VmDefinition) -> Result<()> {
        let vm = shell_word(replica.vm_name.as_str());
        match self.lacking(site, shaped).into_iter().next() {
            None => Ok(()),
            Some(lack) => Err(Failure::conflict(lack).with_hint(format!(
                "put it there, or change what {vm} is to be here: holdfast replica edit {vm} --help"
            ))),
        }
    }

    fn lacking(&self, site: &Site, shaped: &VmDefinition) -> Vec<String> {
        let storage = self.storage().filter(|storage| !storage.is_dir());
        let storage = storage.map(|storage| format!("{} is no directory on this host", storage.display()));
        let bridges = shaped.networks.iter().filter(|network| network.kind == NetworkKind::Bridge);
        let bridges: BTreeSet<_> = bridges.filter_map(|network| network.bridge.as_deref()).collect();
        let missing = bridges.into_iter().filter(|bridge| !site.hypervisor.has_bridge(bridge));
        let missing = missing.map(|bridge| format!("there is no bridge {bridge} on this host"));
        storage.into_iter().chain(missing).collect()
    }

    /// What a failover would be refused for as things are.
    async fn problems(&self, site: &Site, replica: &KnownReplica) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        if matches!(replica.standing.stage, Stage::Committed { .. }) {
            return Ok(problems);
        }
        let taken = match replica.standing.failover() {
            Some(_) => None,
            None => vms::check_name_free(site, self.name(replica), replica.vm_id).await.err(),
        };
        problems.extend(taken.map(|failure| failure.detail().to_owned()));
        for purpose in [Purpose::Failover, Purpose::Test] {
            let mut definition = replica.definition.clone();
            self.shape(&mut definition, purpose);
            let lacks = self.lacking(site, &definition).into_iter().map(|lack| match purpose {
                Purpose::Failover => lack,
                Purpose::Test => format!("for tests, {lack}"),
            });
            let new: Vec<_> = lacks.filter(|lack| !problems.iter().any(|it| lack.ends_with(it))).collect();
            problems.extend(new);
        }
        Ok(problems)
    }

    /// As clients see it.
    pub(super) async fn view(&self, site: &Site, replica: &KnownReplica) -> Result<ReplicaTargetView> {
        let from = |is_set: bool| if is_set { SettingOrigin::Set } else { SettingOrigin::Source };
        let mut shaped = replica.definition.clone();
        self.shape(&mut shaped, Purpose::Failover);
        let storage = match self.storage() {
            Some(storage) => storage.to_owned(),
            None => site.directory.all_disks(),
        };
        let networks = (0..).zip(&replica.definition.networks);
        Ok(ReplicaTargetView {
            name: self.name(replica).to_string(),
            name_from: from(self.settings.name.is_some()),
            cpus: shaped.cpus,
            cpus_from: from(self.settings.cpus.is_some()),
            memory_bytes: shaped.memory,
            memory_from: from(self.settings.memory_bytes.is_some()),
            storage: storage.display().to_string(),
            storage_from: self.storage().map_or(SettingOrigin::Default, |_| SettingOrigin::Set),
            networks: networks.map(|(number, network)| self.network_view(number, network)).collect(),
            problems: self.problems(site, replica).await?,
        })
    }

    fn network_view(&self, number: u32, network: &NetworkDefinition) -> ReplicaNetworkView {
        let at_source = connected(network);
        let told = |purpose| {
            let (connection, origin) = self.connection(number, network, purpose);
            (connection.map_or_else(|| at_source.clone(), |connection| connection.to_string()), origin)
        };
        let ((connected_to, connected_from), (test_connected_to, test_connected_from)) =
            (told(Purpose::Failover), told(Purpose::Test));
        ReplicaNetworkView {
            number,
            mac: network.mac.clone(),
            at_source,
            connected_to,
            connected_from,
            test_connected_to,
            test_connected_from,
        }
    }
}

/// The directory for the disks of a VM, and for nothing else.
pub(crate) fn directory_in(site: &Site, storage: Option<&Path>, vm_id: VmId) -> PathBuf {
    match storage {
        Some(storage) => storage.join(vm_id.as_str()),
        None => site.directory.disks(vm_id),
    }
}

/// What an interface is connected to, in a word.
fn connected(network: &NetworkDefinition) -> String {
    match (network.kind, &network.bridge) {
        (NetworkKind::Bridge, Some(bridge)) => bridge.clone(),
        (NetworkKind::Bridge, None) => "bridge".to_owned(),
        (NetworkKind::User, _) => "user".to_owned(),
        (NetworkKind::Isolated, _) => NetworkConnection::Isolated.to_string(),
        (NetworkKind::Disconnected, _) => "disconnected".to_owned(),
    }
}
