//! Whether a plan can work on this site as it is now.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use catalog::KnownReplica;
use model::{ByteCount, MomentSelector, NetworkConnection, VmName};
use peer::Patience;
use plan::{ActionWork, Attachment, Direction, Finding, Kind, Plan, Run, Where};
use recovery::{Event, Stage, step};

use crate::{
    failure::{Failure, Result},
    peers,
    replicas::{self, Purpose, Target},
    runbooks,
    site::Site,
    work,
};

/// A VM that is to come up, and where in a plan it is named.
struct Wanted {
    path: String,
    name: VmName,
    /// The network devices that are named, and what they may be connected to here.
    devices: BTreeSet<u32>,
    connections: Vec<NetworkConnection>,
    /// What they are connected to where it is to stay.
    networks: BTreeMap<u32, NetworkConnection>,
}

/// What these network devices are connected to, where that is said.
pub(super) fn connections(networks: &BTreeMap<u32, Attachment>) -> Result<BTreeMap<u32, NetworkConnection>> {
    let said =
        networks.iter().filter_map(|(device, attachment)| Some((*device, attachment.bridge.as_ref()?)));
    said.map(|(device, bridge)| Ok((device, replicas::connection(bridge)?))).collect()
}

/// What stands in the way of a plan, whatever it is run for at this site, in this direction.
pub(super) async fn of_plan(site: &Site, plan: &Plan, direction: Direction) -> Result<Vec<Finding>> {
    let mut wanted = Vec::new();
    for (number, group) in plan.groups.iter().enumerate() {
        for (place, vm) in group.vms.iter().enumerate() {
            let of = |kind| {
                let said = vm.networks.iter().filter_map(|network| {
                    Some((network.device, network.attachment(kind, direction)?.clone()))
                });
                connections(&said.collect())
            };
            let networks = of(Kind::Unplanned)?;
            wanted.push(Wanted {
                path: format!("groups[{number}].vms[{place}]"),
                name: vm.name.clone(),
                devices: vm.networks.iter().map(|network| network.device).collect(),
                connections: networks.values().cloned().chain(of(Kind::Test)?.into_values()).collect(),
                networks,
            });
        }
    }
    let mut findings = of_vms(site, &wanted, None, "latest").await?;
    for (path, action) in plan.actions() {
        match action.work() {
            Some(ActionWork::Script(script)) if script.site == Where::Source => {
                let why = "no program is run at another site that this one names";
                let hint =
                    "keep a runbook there that says other_sites = true, and name it with site = \"source\"";
                findings.push(Finding::error(format!("{path}.script.site"), why).with_hint(hint));
            }
            Some(ActionWork::Script(script)) => {
                let program = script.command.first().map(Path::new);
                if program.is_some_and(|program| program.is_absolute() && !program.exists()) {
                    let why = format!("there is no {} on this host", script.command[0]);
                    findings.push(Finding::warning(format!("{path}.script.command[0]"), why));
                }
            }
            Some(ActionWork::Ansible(ansible)) if !Path::new(&ansible.playbook).exists() => {
                let why = format!("there is no {} on this host", ansible.playbook);
                findings.push(Finding::warning(format!("{path}.ansible.playbook"), why));
            }
            Some(ActionWork::Runbook(call)) if call.site == Where::Target => {
                if let Err(failure) = runbooks::filled(site, &call.name, &call.parameters).await {
                    findings.push(finding_of(format!("{path}.runbook"), &failure));
                }
            }
            _ => {}
        }
    }
    Ok(findings)
}

/// What stands in the way of a run.
pub(super) async fn of_run(site: &Site, run: &Run) -> Result<Vec<Finding>> {
    let mut wanted = Vec::new();
    for (name, facts) in run.vms() {
        let networks = connections(&facts.networks)?;
        wanted.push(Wanted {
            path: name.to_string(),
            name: name.clone(),
            devices: facts.networks.keys().copied().collect(),
            connections: networks.values().cloned().collect(),
            networks: if run.kind == Kind::Test { BTreeMap::new() } else { networks },
        });
    }
    let mut findings = of_vms(site, &wanted, Some(run.kind), &run.point).await?;
    findings.extend(of_groups(site, run).await?);
    Ok(findings)
}

/// Says where a run brings VMs up from moments of their own that could be had from one.
async fn of_groups(site: &Site, run: &Run) -> Result<Option<Finding>> {
    let is_shared = matches!(work::moment_selector(&run.point)?, MomentSelector::Shared { .. });
    if is_shared || run.kind == Kind::Planned {
        return Ok(None);
    }
    let replicas = site.catalog.replicas().await?;
    let of_run: BTreeSet<_> = replicas
        .iter()
        .filter(|replica| run.vms().contains_key(&replica.vm_name))
        .map(|replica| replica.journal_id)
        .collect();
    let groups = site.catalog.replica_groups().await?;
    let shares = groups
        .iter()
        .find(|group| group.members.iter().filter(|journal| of_run.contains(*journal)).count() > 1);
    Ok(shares.map(|group| {
        let why = format!("VMs of the consistency group {} come up from moments of their own", group.name);
        Finding::warning("", why).with_hint(format!("from one that they share: --point @{}", group.name))
    }))
}

async fn of_vms(site: &Site, wanted: &[Wanted], kind: Option<Kind>, point: &str) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut memory_bytes = 0;
    for vm in wanted {
        let bridges: BTreeSet<_> = vm.connections.iter().filter_map(NetworkConnection::bridge).collect();
        for bridge in bridges.into_iter().filter(|bridge| !site.hypervisor.has_bridge(bridge)) {
            findings.push(Finding::error(vm.path.clone(), format!("this host has no bridge {bridge}")));
        }
        let replica = match replicas::find(site, vm.name.as_str()).await {
            Ok(replica) => replica,
            Err(failure) => {
                // Where the plan is written the VMs run, and their replicas are elsewhere.
                let runs_here = site.catalog.vm(vm.name.as_str()).await?.is_some();
                let why = failure.detail().to_owned();
                findings.push(match kind {
                    None if runs_here => {
                        Finding::warning(vm.path.clone(), format!("{why}: it runs at this site"))
                    }
                    _ => Finding::error(vm.path.clone(), why),
                });
                continue;
            }
        };
        let devices = replica.definition.networks.len();
        for device in vm.devices.iter().filter(|device| **device as usize >= devices) {
            let why = format!("{} has no network device {device}, counted from 0", vm.name);
            findings.push(Finding::error(vm.path.clone(), why));
        }
        if let Err(failure) = of_replica(site, &replica, kind, point, &vm.networks).await {
            findings.push(finding_of(vm.path.clone(), &failure));
        }
        if kind == Some(Kind::Test) || replica.standing.failover().is_none() {
            let mut definition = replica.definition.clone();
            Target::of(site, &replica).await?.shape(&mut definition, Purpose::Failover);
            memory_bytes += definition.memory.0;
        }
    }
    if let Some(free_bytes) = memory_available_bytes().filter(|free_bytes| *free_bytes < memory_bytes) {
        let (wanted, free) = (ByteCount(memory_bytes), ByteCount(free_bytes));
        findings.push(
            Finding::error("", format!("the VMs want {wanted} of memory, and this host has {free} left"))
                .with_hint("end other VMs on it first, or take VMs out of the plan"),
        );
    }
    Ok(findings)
}

/// Fails where a replica cannot become what a run wants.
async fn of_replica(
    site: &Site,
    replica: &KnownReplica,
    kind: Option<Kind>,
    point: &str,
    networks: &BTreeMap<u32, NetworkConnection>,
) -> Result<()> {
    let is_here = matches!(replica.standing.stage, Stage::FailedOver(_) | Stage::Committed { .. });
    if is_here && kind.is_some_and(|kind| kind != Kind::Test) {
        return Ok(()); // It runs here already.
    }
    step(&replica.standing, Event::Test)?;
    let found = replicas::moment_of(site, replica.clone(), &work::moment_selector(point)?).await?;
    found.definition(site)?;
    if kind != Some(Kind::Test) && replica.standing.failover().is_none() {
        work::could_take_over_as(site, replica.clone(), networks).await?;
    }
    if kind == Some(Kind::Planned) {
        of_source(site, replica).await?;
    }
    Ok(())
}

/// Fails where the site that the VM comes from cannot hand it over.
async fn of_source(site: &Site, replica: &KnownReplica) -> Result<()> {
    let peer = peers::find(site, replica.peer_id.as_str()).await?;
    let client = site.peers.client(&peer, Patience::NONE)?.ok_or_else(|| {
        Failure::conflict(format!("the site {} has no address, so that it cannot be asked", peer.name))
            .with_hint("have it listen: holdfast serve --peer-listen ADDRESS")
    })?;
    let state = client.source_state(replica.journal_id).await?;
    match state.lacking {
        Some(why) => Err(Failure::conflict(format!("{} cannot be handed over: {why}", state.vm_name))),
        None => Ok(()),
    }
}

pub(super) fn finding_of(path: String, failure: &Failure) -> Finding {
    let finding = Finding::error(path, failure.detail());
    match failure.hint() {
        Some(hint) => finding.with_hint(hint),
        None => finding,
    }
}

/// What the host can still give to programs; none where it does not say.
fn memory_available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}
