//! The root file system's tree: unpacked packages, completed with our own files.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context, Result};

use super::{initramfs::write_executable, scripts};
use crate::command::run;

/// Adds busybox's commands, our scripts, and the kernel from the directory of results.
pub(super) fn complete(tree: &Path, result: &Path) -> Result<()> {
    for directory in
        ["boot/grub", "data", "dev", "proc", "root", "run", "sys", "tmp", "var/lib/workload", "var/log"]
    {
        fs::create_dir_all(tree.join(directory))?;
    }
    let commands = run(Command::new(tree.join("usr/bin/busybox")).arg("--list"))?;
    for command in commands.lines() {
        let exists = |directory: &str| tree.join(directory).join(command).symlink_metadata().is_ok();
        if !exists("usr/bin") && !exists("usr/sbin") {
            symlink("busybox", tree.join("usr/bin").join(command))?;
        }
    }
    for (path, text) in scripts::ROOT {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().context("a script is in a directory")?)?;
        if path.is_symlink() {
            fs::remove_file(&path)?;
        }
        write_executable(&path, text)?;
    }
    for name in ["vmlinuz", "initrd.img"] {
        fs::copy(result.join(name), tree.join("boot").join(name))?;
    }
    Ok(())
}
