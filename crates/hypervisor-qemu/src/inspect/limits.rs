//! What cannot be done with a VM, in sentences for its owner.

use hypervisor::{AgentState, Result};

use super::definition::image_format;
use crate::{capture::iothread_kills, monitor::Monitor, topology::Topology};

pub(super) async fn of(monitor: &Monitor, topology: &Topology, agent: &AgentState) -> Result<Vec<String>> {
    let mut limits = Vec::new();
    limits.extend(topology.omissions.iter().map(ToString::to_string));
    for disk in &topology.disks {
        let name = &disk.name;
        if disk.device.shared {
            limits.push(format!(
                "The disk {name} is shared (share-rw=on): its changes are not tracked, and what other machines write during a \
                 backup may be in it."
            ));
        } else if disk.device.iothread && iothread_kills(monitor.version()) {
            limits.push(format!(
                "The disk {name} has an I/O thread, and reading it through the NBD server of QEMU {} could end the VM: \
                 its changes are not tracked.",
                monitor.version()
            ));
        } else if !disk.keeps_bitmaps {
            limits.push(format!(
                "The changes of the disk {name} are tracked only until the VM stops: it is not qcow2."
            ));
        }
        if image_format(&disk.driver).is_none() {
            limits.push(format!("The disk {name} is restored as raw or qcow2, not as {}.", disk.driver));
        }
    }
    if topology.flash && topology.firmware_variables.is_none() {
        limits.push(
            "The UEFI variables are in no file that could be backed up: a restored VM starts with new ones."
                .to_owned(),
        );
    }
    match agent {
        AgentState::Answers(_) => {}
        AgentState::Silent(why) => {
            limits.push(format!(
                "Backups are crash-consistent, because the guest agent does not answer: {why}."
            ));
        }
        AgentState::NoChannel => {
            limits.push(
                "Backups are crash-consistent, because the VM has no channel for a guest agent.".to_owned(),
            );
        }
    }
    let capabilities = monitor.capabilities().await?;
    if !capabilities.breaking_filter || !capabilities.snapshot_access {
        limits.push(
            "This QEMU lacks the filter that captures take; they reserve scratch space for a whole disk."
                .to_owned(),
        );
    }
    Ok(limits)
}
