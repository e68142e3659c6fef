//! Decides how each disk is held and read, before anything is touched.

use std::path::Path;

use hypervisor::{CaptureRequest, Error, ErrorKind, Result};

use super::bitmaps;
use crate::{
    monitor::Monitor,
    names,
    qmp::{Capabilities, Version},
    session::Session,
    topology::{GuestDisk, Topology},
};

/// The first QEMU whose NBD server survives the disconnect of a client that reads a disk with an I/O thread.
const IOTHREAD_SAFE_VERSION: Version = Version { major: 9, minor: 0, micro: 0 };
/// Device models whose drive can be replaced by another node while the guest runs.
const MODELS_WITH_REPLACEABLE_DRIVE: [&str; 4] = ["virtio-blk-device", "scsi-hd", "ide-hd", "nvme"];

/// How a disk's moment is preserved while the guest goes on writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// A filter above the disk copies old blocks away before they are overwritten. When scratch fails or is slow, the
    /// snapshot breaks and the guest notices nothing.
    Filter,
    /// A backup job does the same below the device. Failing scratch would fail the *guest's* write, so all the space that it
    /// can ever need is reserved beforehand.
    Job,
}

/// How a disk's moment is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Through QEMU's NBD server, with the bitmap.
    Nbd,
    /// As a file through FUSE; nothing tells what has changed.
    Fuse,
}

/// One disk of a planned capture.
#[derive(Debug, Clone)]
pub(super) struct PlannedDisk {
    pub(super) disk: GuestDisk,
    pub(super) method: Method,
    pub(super) reading: Reading,
    /// The bitmap that says what has changed since the baseline, or why there is none.
    pub(super) baseline: std::result::Result<String, String>,
}

impl PlannedDisk {
    /// Whether the disk's writes are handed to a tap.
    pub(super) fn is_tapped(&self) -> bool {
        names::is_of_tap(&self.disk.root_node)
    }
}

/// Whether reading a disk with an I/O thread through the NBD server would abort this QEMU.
pub(crate) fn iothread_kills(version: Version) -> bool {
    version < IOTHREAD_SAFE_VERSION
}

/// Plans a capture of the disks that are asked for.
pub(super) async fn plan(
    session: &Session,
    topology: &Topology,
    request: &CaptureRequest,
) -> Result<Vec<PlannedDisk>> {
    let monitor = &session.monitor;
    let wanted = |disk: &&GuestDisk| request.disk.as_ref().is_none_or(|name| disk.name == *name);
    let disks: Vec<&GuestDisk> = topology.disks.iter().filter(wanted).collect();
    if disks.is_empty() {
        return Err(no_disk(session, topology, request));
    }
    refuse_foreign_jobs(session).await?;
    let capabilities = monitor.capabilities().await?;
    if !capabilities.bitmap_transactions || !capabilities.nbd_export {
        let context =
            format!("the QEMU of {} was built without dirty bitmaps or without NBD", session.vm.name);
        return Err(
            Error::new(ErrorKind::Unsupported, context).with_guidance("install another build of QEMU")
        );
    }
    disks.into_iter().map(|disk| plan_disk(monitor, capabilities, disk, request)).collect()
}

fn no_disk(session: &Session, topology: &Topology, request: &CaptureRequest) -> Error {
    let vm = &session.vm.name;
    let Some(disk) = &request.disk else {
        return Error::new(ErrorKind::Unsupported, format!("the VM {vm} has no disk to capture"));
    };
    let names: Vec<_> = topology.disks.iter().map(|disk| disk.name.as_str()).collect();
    let context = format!("the VM {vm} has no disk {disk} to capture; it has {}", names.join(", "));
    Error::new(ErrorKind::Unsupported, context)
}

fn plan_disk(
    monitor: &Monitor,
    capabilities: &Capabilities,
    disk: &GuestDisk,
    request: &CaptureRequest,
) -> Result<PlannedDisk> {
    let filters = capabilities.breaking_filter && capabilities.snapshot_access;
    let replaceable = MODELS_WITH_REPLACEABLE_DRIVE.contains(&disk.device.model.as_str());
    let method = if filters && replaceable { Method::Filter } else { Method::Job };
    let mut planned = PlannedDisk {
        disk: disk.clone(),
        method,
        reading: Reading::Nbd,
        baseline: bitmaps::usable_baseline(disk, request.chain, request.baseline.of(&disk.name)),
    };
    refuse_tapped(monitor, &planned)?;
    if disk.device.iothread && iothread_kills(monitor.version()) {
        if !(capabilities.fuse_export && can_mount()) {
            return Err(no_safe_reading(monitor.version(), disk));
        }
        planned.reading = Reading::Fuse;
        planned.baseline = Err(format!(
            "the disk has an I/O thread, and QEMU {} can then be read through FUSE only, without its bitmap",
            monitor.version()
        ));
    }
    Ok(planned)
}

/// A job cannot share a disk with a tap, and an older QEMU aborts when a node is put above a mirror in an I/O thread.
fn refuse_tapped(monitor: &Monitor, planned: &PlannedDisk) -> Result<()> {
    let disk = &planned.disk;
    let kills = disk.device.iothread && iothread_kills(monitor.version());
    if !planned.is_tapped() || planned.method == Method::Filter && !kills {
        return Ok(());
    }
    let reason = if kills {
        format!("has an I/O thread, which QEMU {} does not survive", monitor.version())
    } else {
        format!("is a {}, whose drive cannot be replaced while the guest runs", disk.device.model)
    };
    let context = format!("the disk {} is being replicated and cannot be captured: it {reason}", disk.name);
    Err(Error::new(ErrorKind::Busy, context)
        .with_guidance("back it up at the site that it is replicated to, or end the replication"))
}

fn no_safe_reading(version: Version, disk: &GuestDisk) -> Error {
    let context = format!(
        "the disk {} has an I/O thread: reading it through the NBD server of QEMU {version} ends the VM",
        disk.name
    );
    Error::new(ErrorKind::Unsupported, context).with_guidance(format!(
        "remove the I/O thread from the VM's definition, upgrade to QEMU {}.{}, or install fuse3 for a safe way",
        IOTHREAD_SAFE_VERSION.major, IOTHREAD_SAFE_VERSION.minor
    ))
}

/// Whether QEMU can show a file through FUSE on this host.
pub(crate) fn can_mount() -> bool {
    let helpers = ["/usr/bin/fusermount3", "/bin/fusermount3", "/usr/bin/fusermount", "/bin/fusermount"];
    Path::new("/dev/fuse").exists() && helpers.iter().any(|helper| Path::new(helper).exists())
}

/// A job of somebody else may replace nodes under our feet, and would lose its own filter to ours.
pub(crate) async fn refuse_foreign_jobs(session: &Session) -> Result<()> {
    let jobs = session.monitor.query("query-block-jobs").await?;
    let foreign = jobs.as_array().into_iter().flatten().find_map(|job| {
        let id = job["device"].as_str()?;
        (!id.starts_with(names::PREFIX))
            .then(|| (id.to_owned(), job["type"].as_str().unwrap_or("block").to_owned()))
    });
    match foreign {
        None => Ok(()),
        Some((id, kind)) => {
            let context = format!("another program runs the {kind} job {id:?} on the VM {}", session.vm.name);
            Err(Error::new(ErrorKind::Busy, context).with_guidance("try again when that job has ended"))
        }
    }
}
