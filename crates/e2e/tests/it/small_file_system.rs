//! A file system that is soon full.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use testkit::{command::run, loop_file_system::as_root};

/// A file system of 128 MiB in memory, unmounted when dropped.
pub struct SmallFileSystem(PathBuf);

impl SmallFileSystem {
    pub fn mount(path: &Path) -> Result<Self> {
        fs::create_dir(path)?;
        run(as_root("mount").args(["-t", "tmpfs", "-o", "size=128m,mode=0777", "tmpfs"]).arg(path)).context(
            "a small file system cannot be mounted: run this test as root, or as one who may use sudo",
        )?;
        Ok(Self(path.to_owned()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Fills it to the last byte; returns the file that does.
    pub fn fill(&self) -> Result<PathBuf> {
        let ballast = self.0.join("ballast");
        let mut file = File::create(&ballast)?;
        // Ever smaller: what remains is less than a page.
        for length_bytes in [1 << 20, 4096] {
            while file.write_all(&vec![1; length_bytes]).is_ok() {}
        }
        Ok(ballast)
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        if let Err(error) = run(as_root("umount").arg("--lazy").arg(&self.0)) {
            eprintln!("{} stays mounted: {error:#}", self.0.display());
        }
    }
}
