//! `qemu-img convert`: no deduplication, no encryption, but known to everybody.

use std::{fs, path::Path, process::Command};

use anyhow::Result;

use super::Peer;
use crate::bench::vault::cycle::{Places, Step};

pub struct QemuImg {
    name: String,
}

impl QemuImg {
    pub fn new(name: String) -> Self {
        Self { name: format!("{name}, zstd") }
    }

    fn compress(disk: &Path, target: &Path) -> Command {
        let mut command = Command::new("qemu-img");
        command
            .args([
                "convert",
                "-f",
                "raw",
                "-O",
                "qcow2",
                "-c",
                "-W",
                "-m",
                "16",
                "-o",
                "compression_type=zstd",
            ])
            .args([disk, target]);
        command
    }
}

impl Peer for QemuImg {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_rival(&self) -> bool {
        false
    }

    fn prepare(&self, places: &Places) -> Result<()> {
        Ok(fs::create_dir(places.repository())?)
    }

    fn commands(&self, step: Step, places: &Places) -> Result<Vec<Command>> {
        let file = |name: &str| places.repository().join(name);
        Ok(match step {
            Step::Full => vec![Self::compress(&places.disk(), &file("base"))],
            Step::Incremental => vec![Self::compress(&places.disk(), &file("changed"))],
            Step::Sibling => vec![Self::compress(&places.sibling_disk(), &file("sibling"))],
            Step::Restore => {
                let mut command = Command::new("qemu-img");
                command
                    .args(["convert", "-f", "qcow2", "-O", "raw", "-W", "-m", "16"])
                    .args([file("changed"), places.restored_disk()]);
                vec![command]
            }
            // It checks no data, and shares none that could become free.
            Step::Verify | Step::Collect => Vec::new(),
        })
    }
}
