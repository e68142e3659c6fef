//! File systems on loop devices: for what only they can do, such as clones that share their blocks.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::command::run;

/// A new file system in a file, mounted; unmounted when dropped, and then its file is removed.
#[derive(Debug)]
pub struct LoopFileSystem {
    path: PathBuf,
    file: PathBuf,
}

impl LoopFileSystem {
    /// Makes a file system of a kind, such as `xfs` or `btrfs`, and mounts it at a new directory, which belongs to the caller then.
    ///
    /// # Errors
    /// Where its `mkfs` is not installed, there are no loop devices, or this is neither root nor one who may use sudo: with the
    /// reason, which is worth telling whoever goes without.
    pub fn mount(kind: &str, path: &Path, size_bytes: u64) -> Result<Self> {
        let file = path.with_extension(kind);
        File::create(&file)?.set_len(size_bytes)?;
        let made = run(as_root(&format!("mkfs.{kind}")).arg("-q").arg(&file));
        let mounted = made.with_context(|| format!("no {kind} can be made here")).and_then(|_| {
            fs::create_dir(path)?;
            run(as_root("mount").args(["-o", "loop"]).args([&file, path]))
                .context("no loop device can be mounted here")
        });
        if let Err(error) = mounted {
            // What is left is in a directory of the caller's.
            let _ = fs::remove_file(&file);
            return Err(error);
        }
        let file_system = Self { path: path.to_owned(), file };
        let owner = rustix::process::geteuid().as_raw().to_string();
        run(as_root("chown").arg(owner).arg(path))?;
        Ok(file_system)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is used of it, once all that was written has been placed.
    ///
    /// # Errors
    /// When it is gone.
    pub fn used_bytes(&self) -> Result<u64> {
        rustix::fs::syncfs(File::open(&self.path)?).context("syncing a file system")?;
        let found = rustix::fs::statvfs(&self.path).context("looking at a file system")?;
        Ok((found.f_blocks - found.f_bfree) * found.f_frsize)
    }
}

impl Drop for LoopFileSystem {
    fn drop(&mut self) {
        if let Err(error) = run(as_root("umount").arg("--lazy").arg(&self.path)) {
            eprintln!("{} stays mounted: {error:#}", self.path.display());
        }
        let _ = fs::remove_file(&self.file);
    }
}

/// A command of the administrator's, by way of sudo where this is not root.
pub fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--non-interactive", program]);
    command
}
