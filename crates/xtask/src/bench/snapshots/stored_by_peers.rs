//! What snapshots of others take: internal ones of a qcow2 file, clones on btrfs.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result};
use testkit::{command::run, loop_file_system::LoopFileSystem};

use super::stored::{Story, Write, apply, taken_bytes};

/// Writes that `qemu-io` is asked for at once.
const WRITES_AT_ONCE: usize = 100;

/// Bytes by which a qcow2 file grows.
pub fn by_qcow2(story: &Story, work: &Path) -> Result<u64> {
    let path = work.join("peer.qcow2");
    run(Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&story.disk).arg(&path))?;
    let snapshot = |name: usize| {
        run(Command::new("qemu-img").args(["snapshot", "-c", &name.to_string()]).arg(&path)).map(drop)
    };
    snapshot(0)?;
    let before = taken_bytes(&path)?;
    for (number, writes) in story.changes.iter().enumerate() {
        for some in writes.chunks(WRITES_AT_ONCE) {
            write_by_qemu(some, &path, work)?;
        }
        snapshot(number + 1)?;
    }
    let taken = taken_bytes(&path)?.saturating_sub(before);
    fs::remove_file(&path)?;
    Ok(taken)
}

fn write_by_qemu(writes: &[Write], path: &Path, work: &Path) -> Result<()> {
    let sources = tempfile::tempdir_in(work)?;
    let mut command = Command::new("qemu-io");
    command.args(["-f", "qcow2"]);
    for (number, write) in writes.iter().enumerate() {
        let source = sources.path().join(number.to_string());
        fs::write(&source, &write.bytes)?;
        let order = format!("write -q -s {} {} {}", source.display(), write.offset_bytes, write.bytes.len());
        command.args(["-c", &order]);
    }
    run(command.arg(path)).map(drop)
}

/// Bytes that a btrfs file system loses; or why that cannot be measured here.
pub fn by_btrfs(story: &Story, work: &Path) -> Result<Result<u64, String>> {
    let disk_bytes = story.disk.metadata()?.len();
    let file_system = match LoopFileSystem::mount("btrfs", &work.join("btrfs"), 2 * disk_bytes + (1 << 30)) {
        Ok(file_system) => file_system,
        Err(reason) => return Ok(Err(format!("{reason:#}"))),
    };
    let path = file_system.path().join("disk.raw");
    let file = story.copy_to(&path)?;
    file.sync_all()?;
    let clone = |name: usize| {
        let clone = File::create(file_system.path().join(name.to_string()))?;
        rustix::fs::ioctl_ficlone(&clone, &file).context("cloning on btrfs")?;
        clone.sync_all().context("making a clone durable")
    };
    clone(0)?;
    let before = file_system.used_bytes()?;
    for (number, writes) in story.changes.iter().enumerate() {
        apply(writes, &file)?;
        clone(number + 1)?;
    }
    Ok(Ok(file_system.used_bytes()?.saturating_sub(before)))
}
