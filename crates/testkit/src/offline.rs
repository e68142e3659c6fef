//! A guest's disks examined without booting or mounting them.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use model::DiskFormat;

use crate::{
    command::run,
    guest::{GuestDisks, ROOT_PARTITION_OFFSET_BYTES, STATE_CHECK, path_with_system_tools},
    workload::WorkloadState,
};

/// What was found on a pair of disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineState {
    /// What the workload left.
    pub workload: WorkloadState,
    /// Whether both file systems were at rest: frozen or unmounted, no journal to replay.
    pub file_systems_clean: bool,
}

/// Examines copies of a pair of disks: replays the journals, takes the workload's files out and checks them.
///
/// # Errors
/// When a file system has more wrong with it than an unreplayed journal.
pub fn examine(disks: &GuestDisks) -> Result<OfflineState> {
    let work = tempfile::tempdir()?;
    let path = |name: &str| work.path().join(name);
    copy_raw(&disks.root, disks.format, 0, &path("root.disk"))?;
    copy_raw(&path("root.disk"), DiskFormat::Raw, ROOT_PARTITION_OFFSET_BYTES, &path("root.ext4"))?;
    copy_raw(&disks.data, disks.format, 0, &path("data.ext4"))?;
    let clean = [at_rest(&path("root.ext4"))?, at_rest(&path("data.ext4"))?];

    for (disk, directory, files) in [
        ("root.ext4", "/var/lib/workload", &["records"][..]),
        ("data.ext4", "", &["records", "application.db", "application.db-wal", "QUIESCED"]),
    ] {
        let image = path(disk);
        replay_and_check(&image)?;
        let target = image.with_extension("files");
        fs::create_dir(&target)?;
        for file in files {
            let request = format!("dump {directory}/{file} {}", target.join(file).display());
            run(system_tool("debugfs").args(["-R", &request]).arg(&image))?;
            // debugfs leaves an empty file for one that is not there.
            if fs::metadata(target.join(file)).is_ok_and(|metadata| metadata.len() == 0) {
                fs::remove_file(target.join(file))?;
            }
        }
    }
    fs::write(path("verify-state"), STATE_CHECK)?;
    let mut check = Command::new("perl");
    check.args([path("verify-state"), path("root.files"), path("data.files")]);
    Ok(OfflineState {
        workload: WorkloadState::parse(&run(&mut check)?)?,
        file_systems_clean: clean == [true; 2],
    })
}

/// A file out of a raw image of an ext4 file system, after its journal was replayed and it was checked; empty where it is not there. The image is changed.
///
/// # Errors
/// When the file system has more wrong with it than an unreplayed journal.
pub fn file_of(image: &Path, file: &str) -> Result<Vec<u8>> {
    replay_and_check(image)?;
    let target = image.with_extension("file");
    fs::write(&target, [])?;
    let request = format!("dump {file} {}", target.display());
    run(system_tool("debugfs").args(["-R", &request]).arg(image))?;
    Ok(fs::read(&target)?)
}

fn copy_raw(source: &Path, format: DiskFormat, offset_bytes: u64, target: &Path) -> Result<()> {
    let options = format!(
        "driver=raw,offset={offset_bytes},file.driver={format},file.file.driver=file,file.file.filename={}",
        source.display().to_string().replace(',', ",,")
    );
    run(Command::new("qemu-img").args(["convert", "-O", "raw", "--image-opts", &options]).arg(target))
        .map(drop)
}

fn at_rest(image: &Path) -> Result<bool> {
    let report = run(system_tool("dumpe2fs").arg("-h").arg(image))?;
    let features = report.lines().find(|line| line.starts_with("Filesystem features:"));
    Ok(!features.context("dumpe2fs shows no features")?.contains("needs_recovery"))
}

fn replay_and_check(image: &Path) -> Result<()> {
    // Repairs nothing but what a mount would: exit code 1 says that the journal was replayed.
    let replay = system_tool("e2fsck").args(["-f", "-p"]).arg(image).output()?;
    let report = String::from_utf8_lossy(&replay.stdout);
    ensure!(matches!(replay.status.code(), Some(0 | 1)), "{}: {report}", image.display());
    run(system_tool("e2fsck").args(["-f", "-n"]).arg(image)).map(drop)
}

fn system_tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", path_with_system_tools());
    command
}
