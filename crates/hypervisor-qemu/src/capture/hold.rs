//! Puts filters and scratch in place. The guest notices nothing: it is attached to none of this yet.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use hypervisor::{Error, ErrorKind, Result};
use model::{ByteCount, CaptureId, DiskFormat};
use rustix::fs::FallocateFlags;
use serde_json::{Value, json};

use super::plan::{Method, PlannedDisk};
use crate::{names, session::Session};

/// How long a guest's write may wait for scratch before the snapshot is given up instead. QEMU 7.2 keeps this number as
/// 32-bit nanoseconds: 5 s and more would wrap around.
const SCRATCH_WAIT_S: u32 = 3;
/// Share of a qcow2 file that its own tables take at most: 16 bytes for each cluster of 64 KiB, and change.
const TABLES_SHARE: u64 = 2048;
/// Space that the header and the first tables of a qcow2 file take, rounded up.
const TABLES_BASE_BYTES: u64 = 4 << 20;

/// The scratch files that a capture will use, for the ledger.
pub(super) fn scratch_files(session: &Session, capture_id: CaptureId, disks: &[PlannedDisk]) -> Vec<PathBuf> {
    (0..disks.len()).map(|index| session.config.scratch_file(session.vm.vm_id, capture_id, index)).collect()
}

/// Puts a disk's filter in place above it, with its scratch; the device is not attached to it yet.
pub(super) async fn prepare(
    session: &Session,
    index: usize,
    planned: &PlannedDisk,
    scratch: &Path,
) -> Result<()> {
    match planned.method {
        Method::Filter => prepare_filter(session, index, planned, scratch).await,
        Method::Job => prepare_job(session, index, planned, scratch).await,
    }
}

async fn prepare_filter(
    session: &Session,
    index: usize,
    planned: &PlannedDisk,
    scratch: &Path,
) -> Result<()> {
    create_sparse(scratch, planned.disk.size_bytes).map_err(|source| scratch_error(scratch, source))?;
    add_node(session, scratch_node(index, scratch)?).await?;
    let filter = json!({
        "driver": "copy-before-write",
        "node-name": names::filter(index),
        "file": planned.disk.root_node,
        "target": names::scratch(index),
        "on-cbw-error": "break-snapshot",
        "cbw-timeout": SCRATCH_WAIT_S,
    });
    add_node(session, filter).await
}

async fn prepare_job(session: &Session, index: usize, planned: &PlannedDisk, scratch: &Path) -> Result<()> {
    let created = image_formats::create_target(scratch, DiskFormat::Qcow2, planned.disk.size_bytes).await;
    let failed = |kind, source| {
        Error::new(kind, format!("cannot create the scratch file {}", scratch.display())).with_source(source)
    };
    let target = created.map_err(|error| {
        failed(ErrorKind::Failed, Box::new(error) as Box<dyn std::error::Error + Send + Sync>)
    })?;
    target.finish().await.map_err(|error| failed(ErrorKind::Failed, Box::new(error)))?;
    let needed_bytes = planned.disk.allocated_bytes.min(planned.disk.size_bytes);
    reserve(scratch, needed_bytes + needed_bytes / TABLES_SHARE + TABLES_BASE_BYTES)?;
    let view = json!({
        "driver": "qcow2",
        "node-name": names::view(index),
        "file": scratch_node(index, scratch)?,
        "backing": planned.disk.root_node,
    });
    add_node(session, view).await
}

/// The transaction's action that starts a disk's backup job.
pub(super) fn job_action(index: usize, planned: &PlannedDisk) -> Value {
    let job = json!({
        "job-id": names::job(index),
        "device": planned.disk.root_node,
        "target": names::view(index),
        "sync": "none",
        "filter-node-name": names::filter(index),
    });
    json!({"type": "blockdev-backup", "data": job})
}

async fn add_node(session: &Session, options: Value) -> Result<()> {
    session.monitor.execute("blockdev-add", options).await.map(|_| ())
}

fn scratch_node(index: usize, scratch: &Path) -> Result<Value> {
    let filename = scratch.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, format!("the path {} is not UTF-8", scratch.display()))
            .with_guidance("choose another scratch directory")
    })?;
    Ok(json!({"driver": "file", "node-name": names::scratch(index), "filename": filename}))
}

fn create_sparse(path: &Path, size_bytes: u64) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        crate::session::make_private_dir(dir)?;
    }
    private_file(path)?.set_len(size_bytes)
}

fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
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
