//! A VM whose QEMU answers.

use std::{path::Path, time::Duration};

use hypervisor::{AgentState, DiskInspection, Inspection, Result, Tracking, VmAccess};
use model::ByteCount;

use super::{definition, limits, tracking};
use crate::{agent::Agent, config::Sockets, monitor::Monitor, power, topology::Topology};

/// How long to wait for the guest agent.
const AGENT_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn inspect(monitor: &Monitor, sockets: &Sockets, vm: &VmAccess) -> Result<Inspection> {
    let (topology, agent) = tokio::join!(Topology::read(monitor, vm), agent_state(sockets.agent.as_deref()));
    let topology = topology?;
    let definition = definition::discover(monitor, vm, &topology).await?;
    let disks = topology.disks.iter().map(|disk| DiskInspection {
        name: disk.name.clone(),
        path: disk.path.clone(),
        format: definition::image_format(&disk.driver).unwrap_or(model::DiskFormat::Raw),
        size_bytes: ByteCount(disk.size_bytes),
        tracking: if disk.device.shared { Tracking::Off } else { tracking(&disk.name, &disk.bitmaps) },
    });
    Ok(Inspection {
        power: power::of_status(&monitor.status().await?),
        hypervisor: format!("QEMU {}", monitor.version()),
        disks: disks.collect(),
        limits: limits::of(monitor, &topology, &agent).await?,
        definition,
        agent,
    })
}

async fn agent_state(channel: Option<&Path>) -> AgentState {
    let Some(path) = channel else { return AgentState::NoChannel };
    let answer = async { Agent::connect(path, AGENT_TIMEOUT).await?.version(AGENT_TIMEOUT).await };
    match answer.await {
        Ok(version) => AgentState::Answers(version),
        Err(error) => AgentState::Silent(error.to_string()),
    }
}
