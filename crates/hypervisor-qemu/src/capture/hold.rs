//! Puts filters and scratch in place. The guest notices nothing: it is attached to none of this yet.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use hypervisor::{Error, ErrorKind, Result};
use model::{ByteCount, CaptureId, DiskFormat};
use rustix::fs::FallocateFlags;
use serde_json::{Value, json};

use super::plan::{Method, PlannedDisk};
use crate::{
    names,
    session::{Session, make_private_dir},
};

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

/// Puts a disk's overlay in place, and the filter that fills it; the device is not attached to that yet.
pub(super) async fn prepare(
    session: &Session,
    index: usize,
    planned: &PlannedDisk,
    scratch: &Path,
) -> Result<()> {
    let disk = &planned.disk;
    create(scratch, disk.size_bytes).await?;
    if planned.method == Method::Job {
        let needed_bytes = disk.allocated_bytes.min(disk.size_bytes);
        reserve(scratch, needed_bytes + needed_bytes / TABLES_SHARE + TABLES_BASE_BYTES)?;
    }
    let overlay = json!({
        "driver": "qcow2",
        "node-name": names::overlay(index),
        "file": {"driver": "file", "node-name": names::scratch(index), "filename": utf8(scratch)?},
        "backing": disk.root_node,
    });
    session.monitor.execute("blockdev-add", overlay).await?;
    if planned.method == Method::Filter {
        let filter = json!({
            "driver": "copy-before-write",
            "node-name": names::filter(index),
            "file": disk.root_node,
            "target": names::overlay(index),
            "on-cbw-error": "break-snapshot",
            "cbw-timeout": SCRATCH_WAIT_S,
        });
        session.monitor.execute("blockdev-add", filter).await?;
    }
    Ok(())
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

async fn create(scratch: &Path, size_bytes: u64) -> Result<()> {
    let failed = |kind| Error::new(kind, format!("cannot create the scratch file {}", scratch.display()));
    if let Some(dir) = scratch.parent() {
        make_private_dir(dir).map_err(|source| failed(ErrorKind::Failed).with_source(source))?;
    }
    let target =
        image_formats::create_target(scratch, DiskFormat::Qcow2, size_bytes).await.map_err(|source| {
            let full = source.kind() == image_formats::ErrorKind::NoSpace;
            failed(if full { ErrorKind::NoSpace } else { ErrorKind::Failed }).with_source(source)
        })?;
    target.finish().await.map_err(|source| failed(ErrorKind::Failed).with_source(source))
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
