//! What the operator says of the VM that a replica becomes here.

use std::{collections::BTreeMap, path::PathBuf};

use api::{ConnectNetwork, EditReplica, ReplicaSetting, shell_word};
use catalog::{KnownReplica, ReplicaSettings};
use model::{ByteCount, JournalId, NetworkConnection};
use recovery::Stage;

use super::find;
use crate::{
    failure::{Failure, Result},
    site::Site,
    work,
};

/// More memory than any host has.
const MEMORY_MAX: ByteCount = ByteCount(64 << 40);

/// More virtual CPUs than QEMU gives a VM.
const CPUS_MAX: u32 = 4096;

/// Changes how the VM is to be here. What is lacking for it may still come: the replica's view tells of it, and a failover is
/// refused.
pub(crate) async fn edit(site: &Site, name: &str, request: EditReplica) -> Result<KnownReplica> {
    let id = find(site, name).await?.journal_id;
    let kept = site.replicas.get(id)?;
    let _gate = kept.gate.lock().await;
    let known = find(site, id.as_str()).await?;
    if matches!(known.standing.stage, Stage::Committed { .. }) {
        let vm = shell_word(known.vm_name.as_str());
        return Err(Failure::conflict(format!("{} runs here for good", known.vm_name))
            .with_hint(format!("see it with: holdfast vm show {vm}")));
    }
    let mut settings = site.catalog.replica_settings(id).await?;
    request.reset.iter().for_each(|setting| reset(&mut settings, *setting));
    change(&mut settings, &known, request)?;
    site.catalog.set_replica_settings(id, &settings).await?;
    tracing::info!(vm = %known.vm_name, "what the VM of a replica is to be here was changed");
    Ok(known)
}

/// Has network interfaces of a VM that comes to run here connected so, as if its operator had said it.
pub(crate) async fn connect_as_planned(
    site: &Site,
    id: JournalId,
    networks: &BTreeMap<u32, NetworkConnection>,
) -> Result<()> {
    if networks.is_empty() {
        return Ok(());
    }
    let kept = site.replicas.get(id)?;
    let _gate = kept.gate.lock().await;
    let mut settings = site.catalog.replica_settings(id).await?;
    settings.networks.extend(networks.clone());
    Ok(site.catalog.set_replica_settings(id, &settings).await?)
}

fn reset(settings: &mut ReplicaSettings, setting: ReplicaSetting) {
    match setting {
        ReplicaSetting::Name => settings.name = None,
        ReplicaSetting::Cpus => settings.cpus = None,
        ReplicaSetting::Memory => settings.memory_bytes = None,
        ReplicaSetting::Storage => settings.storage = None,
        ReplicaSetting::Networks => settings.networks.clear(),
        ReplicaSetting::TestNetworks => settings.test_networks.clear(),
    }
}

fn change(settings: &mut ReplicaSettings, known: &KnownReplica, request: EditReplica) -> Result<()> {
    if let Some(name) = request.name {
        let name = name.parse().map_err(|error| Failure::invalid(format!("the VM's name: {error}")))?;
        settings.name = Some(name);
    }
    if let Some(cpus) = request.cpus {
        if !(1..=CPUS_MAX).contains(&cpus) {
            return Err(Failure::invalid(format!("a VM has 1 to {CPUS_MAX} virtual CPUs")));
        }
        settings.cpus = Some(cpus);
    }
    if let Some(memory) = request.memory_bytes {
        if memory.0 < 1 << 20 || memory > MEMORY_MAX {
            return Err(Failure::invalid(format!("a VM has 1 MiB to {MEMORY_MAX} of memory")));
        }
        settings.memory_bytes = Some(memory);
    }
    if let Some(storage) = request.storage {
        settings.storage = Some(directory(&storage)?);
    }
    request.networks.into_iter().try_for_each(|asked| connect(settings, known, asked))
}

/// A directory that is there.
fn directory(path: &str) -> Result<PathBuf> {
    let path = work::absolute(path)?;
    match path.is_dir() {
        true => Ok(path),
        false => Err(Failure::invalid(format!("{} is no directory on this host", path.display()))
            .with_hint("make it first: the disks of the VM get one of their own in it")),
    }
}

fn connect(settings: &mut ReplicaSettings, known: &KnownReplica, asked: ConnectNetwork) -> Result<()> {
    let there_are = known.definition.networks.len();
    if usize::try_from(asked.number).is_ok_and(|number| number >= there_are) {
        let has = match there_are {
            0 => "has no network interface".to_owned(),
            1 => "has one network interface, 0".to_owned(),
            count => format!("has the network interfaces 0 to {}", count - 1),
        };
        return Err(Failure::invalid(format!("{} {has}", known.vm_name)));
    }
    let networks = if asked.is_test { &mut settings.test_networks } else { &mut settings.networks };
    match asked.to {
        None => networks.remove(&asked.number),
        Some(to) => networks.insert(asked.number, connection(&to)?),
    };
    Ok(())
}

/// What somebody writes for what an interface is connected to.
pub(crate) fn connection(text: &str) -> Result<NetworkConnection> {
    text.parse().map_err(|error| Failure::invalid(format!("{error}")))
}
