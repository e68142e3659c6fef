//! The initial RAM disk: busybox, the drivers for QEMU's devices, and our `/init`.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::scripts;
use crate::command::{run, run_into_file};

/// Drivers to load, where the kernel has them as modules; those that they need come along.
const MODULES: [&str; 11] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "nvme",
    "ahci",
    "virtio_console",
    "virtio_net",
    "virtio_rng",
    "button",
    "evdev",
];

/// Builds the RAM disk out of an unpacked kernel package; returns the kernel's version.
pub(super) fn build(kernel: &Path, busybox: &Path, tree: &Path, image: &Path) -> Result<String> {
    let modules = kernel.join("usr/lib/modules");
    let version = fs::read_dir(&modules)?.next().context("the kernel package has no modules")??.file_name();
    let version = version.to_string_lossy().into_owned();
    for directory in ["bin", "dev", "etc", "lib/modules", "newroot", "proc", "sys"] {
        fs::create_dir_all(tree.join(directory))?;
    }
    fs::copy(busybox, tree.join("bin/busybox"))?;
    write_executable(&tree.join("init"), scripts::INITRAMFS_INIT)?;
    fs::write(tree.join("etc/modules"), MODULES.join("\n"))?;

    run(Command::new(busybox).arg("depmod").arg("-b").arg(kernel).arg(&version))?;
    let index = fs::read_to_string(modules.join(&version).join("modules.dep"))?;
    for path in with_dependencies(&index) {
        let target = tree.join("lib/modules").join(&version).join(&path);
        fs::create_dir_all(target.parent().context("a module is in a directory")?)?;
        fs::copy(modules.join(&version).join(&path), target)?;
    }
    run(Command::new(busybox).arg("depmod").arg("-b").arg(tree).arg(&version))?;
    pack(tree, image)?;
    Ok(version)
}

/// The wanted modules' files and those that they depend on, after `modules.dep` ("file: file file").
fn with_dependencies(index: &str) -> BTreeSet<String> {
    let wanted = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path).split('.').next().unwrap_or_default();
        MODULES.contains(&name.replace('-', "_").as_str())
    };
    index
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(path, _)| wanted(path))
        .flat_map(|(path, needs)| [path].into_iter().chain(needs.split_whitespace()))
        .map(str::to_owned)
        .collect()
}

fn pack(tree: &Path, image: &Path) -> Result<()> {
    let mut list = Command::new("find").arg(".").current_dir(tree).stdout(Stdio::piped()).spawn()?;
    let names = list.stdout.take().context("find has no output")?;
    let mut pack = Command::new("cpio");
    pack.args(["-o", "-H", "newc", "--quiet", "--owner=0:0"]).current_dir(tree).stdin(names);
    run_into_file(&mut pack, image)?;
    list.wait()?;
    Ok(())
}

pub(super) fn write_executable(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
