//! Decides whether the disks of a VM can be tapped now, before anything is touched.

use hypervisor::{Error, ErrorKind, Result, TapRequest, TappedDisk};
use serde_json::{Value, json};

use super::mirrors;
use crate::{
    capture::{iothread_kills, refuse_foreign_jobs},
    config::checked_socket,
    names,
    session::Session,
    topology::{GuestDisk, Topology},
};

/// A disk that is to be tapped.
#[derive(Debug, Clone)]
pub(super) struct PlannedTap {
    pub(super) disk: GuestDisk,
    /// The export that takes its writes.
    pub(super) export: String,
}

/// Plans the tap of the disks that are asked for.
pub(super) async fn plan(
    session: &Session,
    topology: &Topology,
    request: &TapRequest,
) -> Result<Vec<PlannedTap>> {
    let vm = &session.vm.name;
    let capabilities = session.monitor.capabilities().await?;
    if !capabilities.write_blocking_mirror || !capabilities.bitmap_transactions || !capabilities.nbd_export {
        let context =
            format!("the QEMU of {vm} was built without write-blocking mirrors, dirty bitmaps or NBD");
        return Err(
            Error::new(ErrorKind::Unsupported, context).with_guidance("install another build of QEMU")
        );
    }
    let planned: Result<Vec<PlannedTap>> =
        request.disks.iter().map(|tapped| plan_disk(session, topology, tapped)).collect();
    let planned = planned?;
    if planned.is_empty() {
        return Err(Error::new(ErrorKind::Unsupported, format!("there is no disk of {vm} to replicate")));
    }
    checked_socket(request.socket.clone())?;
    Ok(planned)
}

fn plan_disk(session: &Session, topology: &Topology, tapped: &TappedDisk) -> Result<PlannedTap> {
    let (name, vm) = (&tapped.disk, &session.vm.name);
    let unsupported =
        |what: String| Error::new(ErrorKind::Unsupported, format!("the disk {name} of {vm} {what}"));
    let disk = topology.disks.iter().find(|disk| disk.name == *name);
    let disk = disk.ok_or_else(|| {
        Error::new(ErrorKind::Failed, format!("the VM {vm} has no disk {name} to replicate"))
            .with_guidance("inspect the VM again: its disks have changed")
    })?;
    if disk.device.shared {
        return Err(unsupported(
            "is shared (share-rw=on), and what other machines write cannot be taken".to_owned(),
        )
        .with_guidance("leave the disk out"));
    }
    let version = session.monitor.version();
    if disk.device.iothread && iothread_kills(version) {
        return Err(unsupported(format!(
            "has an I/O thread, and QEMU {version} does not survive that it is read"
        ))
        .with_guidance("remove the I/O thread from the VM's definition, or upgrade to QEMU 9.0"));
    }
    Ok(PlannedTap { disk: disk.clone(), export: tapped.export.clone() })
}

/// Two who work on the same disks would be in each other's way: each waits for the other.
pub(super) async fn refuse_others(session: &Session, request: &TapRequest) -> Result<()> {
    let (monitor, vm) = (&session.monitor, &session.vm.name);
    let busy = |what: &str, guidance: &str| {
        Error::new(ErrorKind::Busy, format!("the VM {vm} cannot be replicated now: {what}"))
            .with_guidance(guidance)
    };
    if mirrors::journals(monitor).await?.iter().any(|found| *found != request.journal_id) {
        return Err(busy("another journal takes its writes", "end that replication first"));
    }
    refuse_foreign_jobs(session).await?;
    let jobs = monitor.query("query-jobs").await?;
    if ids(&jobs, "id").any(|id| names::is(names::stream, id)) {
        let what = "a disk is being copied from the image below it";
        return Err(busy(what, "try again when the disk is whole"));
    }
    let nodes = monitor.execute("query-named-block-nodes", json!({"flat": true})).await?;
    if ids(&nodes, "node-name").chain(ids(&jobs, "id")).any(names::is_of_capture) {
        return Err(busy("a backup or a snapshot holds its disks", "try again when that has ended"));
    }
    Ok(())
}

fn ids<'a>(list: &'a Value, field: &'static str) -> impl Iterator<Item = &'a str> {
    list.as_array().into_iter().flatten().filter_map(move |entry| entry[field].as_str())
}
