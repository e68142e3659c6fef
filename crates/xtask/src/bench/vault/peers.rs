//! Other people's tools, as far as they are installed.

mod borg;
mod qemu_img;
mod restic;
mod rustic;

use std::process::Command;

use anyhow::Result;

use super::cycle::{Places, Step};
use crate::bench::progress;
use borg::Borg;
use qemu_img::QemuImg;
use restic::Restic;
use rustic::Rustic;

/// A tool that stores disks in a repository. Encryption is on wherever it has it.
pub trait Peer {
    /// The tool with its version.
    fn name(&self) -> &str;

    /// Whether it deduplicates and encrypts: one that does not is a yardstick, no rival.
    fn is_rival(&self) -> bool {
        true
    }

    /// Makes an empty repository.
    fn prepare(&self, places: &Places) -> Result<()>;

    /// The commands of a step, to be run one after the other; none when the tool has nothing like it.
    fn commands(&self, step: Step, places: &Places) -> Result<Vec<Command>>;
}

/// All peers that can be run; says of the others how to get them.
pub fn installed() -> Vec<Box<dyn Peer>> {
    let mut peers: Vec<Box<dyn Peer>> = Vec::new();
    match version("restic", &["version"], "restic ") {
        Some(name) => peers.push(Box::new(Restic::new(name))),
        None => missing("restic", "apt-get install restic"),
    }
    match version("borg", &["--version"], "borg 1.") {
        Some(name) => peers.push(Box::new(Borg::new(name))),
        None => missing("borg 1", "apt-get install borgbackup"),
    }
    match version("rustic", &["--version"], "rustic ") {
        Some(name) => peers.push(Box::new(Rustic::new(name))),
        None => missing("rustic", "cargo install --locked rustic-rs"),
    }
    match version("qemu-img", &["--version"], "qemu-img version ") {
        Some(name) => peers.push(Box::new(QemuImg::new(name))),
        None => missing("qemu-img", "apt-get install qemu-utils"),
    }
    peers
}

fn missing(name: &str, install: &str) {
    progress(&format!("{name} is not measured: it is not installed ({install})"));
}

/// The name and version of a program that says what is expected of it.
fn version(program: &str, arguments: &[&str], expected: &str) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next()?.strip_prefix(expected)?;
    // "borg 1." is half a version.
    let number = format!("{}{}", expected.rsplit(' ').next()?, line.split(' ').next()?);
    Some(format!("{program} {number}"))
}
