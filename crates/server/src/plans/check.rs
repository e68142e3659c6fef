//! Whether a plan can work on this site as it is now.

use std::path::Path;

use catalog::KnownReplica;
use model::{ByteCount, VmName};
use peer::Patience;
use plan::{ActionWork, Finding, Kind, Plan, Run, Where};
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
    /// What its network devices are to be connected to.
    bridges: Vec<String>,
}

/// What stands in the way of a plan, whatever it is run for.
pub(super) async fn of_plan(site: &Site, plan: &Plan) -> Result<Vec<Finding>> {
    let mut wanted = Vec::new();
    for (number, group) in plan.groups.iter().enumerate() {
        for (place, vm) in group.vms.iter().enumerate() {
            let attachments = vm.networks.iter().flat_map(|network| [&network.production, &network.test]);
            let bridges = attachments.filter_map(|attachment| attachment.as_ref()?.bridge.clone());
            let path = format!("groups[{number}].vms[{place}]");
            wanted.push(Wanted { path, name: vm.name.clone(), bridges: bridges.collect() });
        }
    }
    let mut findings = of_vms(site, &wanted, None, "latest").await?;
    for (path, action) in plan.actions() {
        match action.work() {
            Some(ActionWork::Script(script)) if script.site == Where::Source => {
                let why = "programs are run on the hosts of the site that runs the plan";
                findings.push(Finding::error(format!("{path}.script.site"), why));
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
            Some(ActionWork::Runbook(call)) => {
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
    let wanted = run.vms().iter().map(|(name, facts)| Wanted {
        path: name.to_string(),
        name: name.clone(),
        bridges: facts.networks.values().filter_map(|attachment| attachment.bridge.clone()).collect(),
    });
    let wanted: Vec<_> = wanted.collect();
    of_vms(site, &wanted, Some(run.kind), &run.point).await
}

async fn of_vms(site: &Site, wanted: &[Wanted], kind: Option<Kind>, point: &str) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut memory_bytes = 0;
    for vm in wanted {
        for bridge in vm.bridges.iter().filter(|bridge| !site.hypervisor.has_bridge(bridge)) {
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
        if let Err(failure) = of_replica(site, &replica, kind, point).await {
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
async fn of_replica(site: &Site, replica: &KnownReplica, kind: Option<Kind>, point: &str) -> Result<()> {
    let is_here = matches!(replica.standing.stage, Stage::FailedOver(_) | Stage::Committed { .. });
    if is_here && kind.is_some_and(|kind| kind != Kind::Test) {
        return Ok(()); // It runs here already.
    }
    step(&replica.standing, Event::Test)?;
    let found = replicas::moment_of(site, replica.clone(), &work::moment_selector(point)?).await?;
    found.definition(site)?;
    if kind != Some(Kind::Test) && replica.standing.failover().is_none() {
        work::could_take_over(site, replica.clone()).await?;
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

fn finding_of(path: String, failure: &Failure) -> Finding {
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
