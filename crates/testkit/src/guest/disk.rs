//! Disks made without root: file systems filled by mke2fs, a partition table and a boot loader written byte by byte.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
};

use anyhow::{Result, ensure};
use model::ByteCount;

use super::{ROOT_SIZE, scripts};
use crate::command::run;

/// Where the root disk's only partition starts.
pub(crate) const ROOT_PARTITION_OFFSET_BYTES: u64 = 1 << 20;

const SECTOR_BYTES: u64 = 512;
const BOOT_CODE_BYTES: usize = 440;

/// Creates a sparse file that holds an ext4 file system, with the content of a tree where one is given.
pub(super) fn create_ext4(path: &Path, label: &str, size: ByteCount, tree: Option<&Path>) -> Result<()> {
    File::create(path)?.set_len(size.0)?;
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-L", label, "-E", "root_owner=0:0,lazy_itable_init=0"]);
    if let Some(tree) = tree {
        command.arg("-d").arg(tree);
    }
    run(command.arg(path).env("PATH", path_with_system_tools())).map(drop)
}

/// Creates the root disk: one partition with the tree, started by GRUB through BIOS.
pub(super) fn create_bootable(path: &Path, tree: &Path, grub: &Path, work: &Path) -> Result<()> {
    let partition = work.join("partition");
    create_ext4(&partition, "guest-root", ByteCount(ROOT_SIZE.0 - ROOT_PARTITION_OFFSET_BYTES), Some(tree))?;
    File::create(path)?.set_len(ROOT_SIZE.0)?;
    let megabytes = ROOT_PARTITION_OFFSET_BYTES >> 20;
    run(Command::new("dd")
        .args(["bs=1M", "conv=notrunc,sparse", "status=none"])
        .arg(format!("seek={megabytes}"))
        .arg(format!("if={}", partition.display()))
        .arg(format!("of={}", path.display())))?;

    let modules = grub.join("usr/lib/grub/i386-pc");
    let early = work.join("grub-early.cfg");
    fs::write(&early, scripts::GRUB_EARLY)?;
    let core = work.join("core.img");
    run(Command::new(grub.join("usr/bin/grub-mkimage"))
        .args(["-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-d"])
        .arg(&modules)
        .arg("-c")
        .arg(&early)
        .arg("-o")
        .arg(&core)
        .args(["biosdisk", "part_msdos", "ext2", "linux", "normal", "configfile", "boot", "minicmd"]))?;
    write_boot_record(path, &fs::read(modules.join("boot.img"))?, &fs::read(core)?)
}

/// The boot code expects the core image in the sectors that follow it, which is where it is put: nothing needs patching.
fn write_boot_record(path: &Path, boot_code: &[u8], core: &[u8]) -> Result<()> {
    ensure!(boot_code.len() >= BOOT_CODE_BYTES, "GRUB's boot code is {} bytes", boot_code.len());
    ensure!(
        (core.len() as u64) < ROOT_PARTITION_OFFSET_BYTES - SECTOR_BYTES,
        "GRUB's core is {} bytes",
        core.len()
    );
    let start = (ROOT_PARTITION_OFFSET_BYTES / SECTOR_BYTES) as u32;
    let sectors = ((ROOT_SIZE.0 - ROOT_PARTITION_OFFSET_BYTES) / SECTOR_BYTES) as u32;

    let mut record = [0; SECTOR_BYTES as usize];
    record[..BOOT_CODE_BYTES].copy_from_slice(&boot_code[..BOOT_CODE_BYTES]);
    let active_linux_partition = [0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff];
    record[446..454].copy_from_slice(&active_linux_partition);
    record[454..458].copy_from_slice(&start.to_le_bytes());
    record[458..462].copy_from_slice(&sectors.to_le_bytes());
    record[510..].copy_from_slice(&[0x55, 0xaa]);

    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&record, 0)?;
    file.write_all_at(core, SECTOR_BYTES)?;
    Ok(())
}

/// Debian keeps mke2fs and debugfs out of an ordinary user's search path.
#[must_use]
pub fn path_with_system_tools() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}
