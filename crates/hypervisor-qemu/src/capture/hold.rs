//! Puts filters and scratch in place. The guest notices nothing: it is attached to none of this yet.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use hypervisor::{Error, ErrorKind, Result};
use model::{ByteCount, CaptureId};
use rustix::fs::FallocateFlags;
use serde_json::{Value, json};

use super::plan::{Method, PlannedDisk};
use crate::{
    monitor::Monitor,
    names,
    session::{Session, make_private_dir},
};

/// How long a guest's write may wait for scratch before the snapshot is given up instead. QEMU 7.2 keeps this number as
/// 32-bit nanoseconds: 5 s and more would wrap around.
const SCRATCH_WAIT_S: u32 = 3;
/// How long QEMU may take to write the few blocks of an empty image.
const FORMAT_TIMEOUT: Duration = Duration::from_secs(30);
/// Share of a qcow2 file that its own tables take at most: 16 bytes for each cluster of 64 KiB, and change.
const TABLES_SHARE: u64 = 2048;
/// Space that the header and the first tables of a qcow2 file take, rounded up.
const TABLES_BASE_BYTES: u64 = 4 << 20;

/// The scratch files that a capture will use, for the ledger.
pub(super) fn scratch_files(session: &Session, capture_id: CaptureId, disks: &[PlannedDisk]) -> Vec<PathBuf> {
    (0..disks.len()).map(|index| session.config.scratch_file(session.vm.vm_id, capture_id, index)).collect()
}

/// Puts a disk's overlay in place, and the filter that fills it; the device is not attached to that yet.
pub(super) async fn prepare(
    session: &Session,
    index: usize,
    planned: &PlannedDisk,
    scratch: &Path,
) -> Result<()> {
    let disk = &planned.disk;
    create_empty(scratch).map_err(|source| scratch_error(scratch, source))?;
    let file = json!({"driver": "file", "node-name": names::scratch(index), "filename": utf8(scratch)?});
    session.monitor.execute("blockdev-add", file).await?;
    format(&session.monitor, index, disk.size_bytes).await?;
    if planned.method == Method::Job {
        let tables_bytes = disk.size_bytes / TABLES_SHARE + TABLES_BASE_BYTES;
        reserve(scratch, disk.size_bytes.saturating_add(tables_bytes))?;
    }
    let below = shielded(session, index, planned).await?;
    let overlay = json!({
        "driver": "qcow2",
        "node-name": names::overlay(index),
        "file": names::scratch(index),
        "backing": below,
    });
    session.monitor.execute("blockdev-add", overlay).await?;
    if planned.method == Method::Filter {
        let filter = json!({
            "driver": "copy-before-write",
            "node-name": names::filter(index),
            "file": below,
            "target": names::overlay(index),
            "on-cbw-error": "break-snapshot",
            "cbw-timeout": SCRATCH_WAIT_S,
        });
        session.monitor.execute("blockdev-add", filter).await?;
    }
    Ok(())
}

/// The node that a capture stands on. The filter of a tap vanishes when the tap breaks, which would abort a QEMU whose
/// copy-before-write filter has its bitmaps on it, so that there is one between them.
async fn shielded(session: &Session, index: usize, planned: &PlannedDisk) -> Result<String> {
    if !planned.is_tapped() {
        return Ok(planned.disk.root_node.clone());
    }
    let shield = names::shield(index);
    let order =
        json!({"driver": "raw", "node-name": shield, "file": planned.disk.root_node, "discard": "unmap"});
    session.monitor.execute("blockdev-add", order).await?;
    Ok(shield)
}

/// The transaction's action that starts a disk's backup job.
pub(super) fn job_action(index: usize, planned: &PlannedDisk) -> Value {
    let job = json!({
        "job-id": names::job(index),
        "device": planned.disk.root_node,
        "target": names::overlay(index),
        "sync": "none",
        "filter-node-name": names::filter(index),
    });
    json!({"type": "blockdev-backup", "data": job})
}

fn utf8(scratch: &Path) -> Result<&str> {
    scratch.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, format!("the path {} is not UTF-8", scratch.display()))
            .with_guidance("choose another scratch directory")
    })
}

fn create_empty(scratch: &Path) -> io::Result<()> {
    if let Some(dir) = scratch.parent() {
        make_private_dir(dir)?;
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(scratch).map(|_| ())
}

/// Makes an empty qcow2 image of a scratch file, inside QEMU: a program of its own for it would cost more than all the rest.
async fn format(monitor: &Monitor, index: usize, size_bytes: u64) -> Result<()> {
    let id = names::creation(index);
    let options = json!({"driver": "qcow2", "file": names::scratch(index), "size": size_bytes});
    let mut wait = monitor.wait(FORMAT_TIMEOUT);
    monitor.execute("blockdev-create", json!({"job-id": id, "options": options})).await?;
    loop {
        let jobs = monitor.query("query-jobs").await?;
        let job = jobs.as_array().into_iter().flatten().find(|job| job["id"] == id.as_str());
        if let Some(job) = job.filter(|job| job["status"] == "concluded") {
            monitor.execute("job-dismiss", json!({"id": id})).await?;
            return match job["error"].as_str() {
                None => Ok(()),
                Some(words) => {
                    Err(Error::new(ErrorKind::Failed, format!("QEMU cannot format a scratch file: {words}")))
                }
            };
        }
        if !wait.again().await {
            return Err(Error::new(ErrorKind::Failed, "QEMU takes too long to format a scratch file"));
        }
    }
}

/// Takes space for a file that will grow, without changing what it holds.
fn reserve(path: &Path, bytes: u64) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).open(path).map_err(|source| scratch_error(path, source))?;
    match rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, bytes) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP) => {
            let context = format!("the file system of {} cannot reserve space", path.display());
            Err(Error::new(ErrorKind::Unsupported, context)
                .with_guidance("put the scratch directory on ext4, XFS or btrfs"))
        }
        Err(errno) => {
            let error = scratch_error(path, errno.into());
            Err(error
                .with_guidance(format!("this VM needs {} of scratch space for this disk", ByteCount(bytes))))
        }
    }
}

fn scratch_error(path: &Path, source: io::Error) -> Error {
    let full = matches!(
        source.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    );
    let kind = if full { ErrorKind::NoSpace } else { ErrorKind::Failed };
    Error::new(kind, format!("cannot create the scratch file {}", path.display())).with_source(source)
}
