//! `cargo xtask bench capture`: backups and restores of a running VM.

mod guest_cost;
mod incremental;
mod protected;
mod throughput;

use std::{path::Path, process::Command, time::Duration};

use anyhow::Result;
use model::ByteCount;
use testkit::command;

use super::{dataset, progress, report::Report};

/// How much is measured.
struct Scale {
    /// The size of the written disk.
    disk: ByteCount,
    /// How often each throughput is measured.
    rounds: usize,
    /// How long the guest's latency is watched in each situation.
    window: Duration,
}

const GIB: u64 = 1 << 30;
const QUICK: Scale = Scale { disk: ByteCount(GIB), rounds: 3, window: Duration::from_secs(15) };
const THOROUGH: Scale = Scale { disk: ByteCount(2 * GIB), rounds: 3, window: Duration::from_secs(60) };

/// Measures everything of this binary, with all files in a directory of its own below this one.
pub async fn measure(binary: &Path, quick: bool, directory: &Path) -> Result<Report> {
    let scale = if quick { QUICK } else { THOROUGH };
    let directory = tempfile::Builder::new().prefix("capture-").tempdir_in(directory)?;
    progress(&format!("writing a disk of {}", scale.disk));
    let raw = directory.path().join("written.raw");
    let written = dataset::create(&raw, scale.disk)?;
    // Each half has its own directory, and gives it up before the next one needs the space.
    let work = || tempfile::tempdir_in(directory.path());

    let mut report = Report::default();
    report.extend(throughput::measure(binary, &scale, &raw, written, work()?.path()).await?);
    report.extend(guest_cost::measure(binary, &scale, &raw, work()?.path()).await?);
    Ok(report)
}

/// Copies the written disk into a qcow2 file of this virtual size, which a VM can track changes of.
fn to_qcow2(raw: &Path, target: &Path, size: ByteCount) -> Result<()> {
    command::run(
        Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(raw).arg(target),
    )?;
    command::run(Command::new("qemu-img").args(["resize", "-q"]).arg(target).arg(size.0.to_string()))
        .map(drop)
}
