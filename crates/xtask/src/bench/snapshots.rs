//! `cargo xtask bench snapshots`: how fast managed snapshots are made, what they take, and what they cost a guest.

mod alive;
mod created;
mod stored;
mod stored_by_peers;

use std::{path::Path, time::Duration};

use anyhow::Result;
use model::ByteCount;
use testkit::{qemu::BlankVm, site::Site};

use super::{progress, report::Report};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What the VM is called.
const VM: &str = "bench";

/// How much is measured.
struct Scale {
    /// What is written on the disks whose snapshots are timed.
    data: ByteCount,
    /// How often the first snapshot of a site is made, for each size of disk.
    sites: usize,
    /// How many follow it.
    later: usize,
    /// The disk whose incrementals are weighed.
    disk: ByteCount,
    /// What is written to it between two of them.
    change: ByteCount,
    /// How long the guest's latency is watched in each situation.
    window: Duration,
}

const QUICK: Scale = Scale {
    data: ByteCount(128 * MIB),
    sites: 3,
    later: 3,
    disk: ByteCount(256 * MIB),
    change: ByteCount(8 * MIB),
    window: Duration::from_secs(10),
};
const THOROUGH: Scale = Scale {
    data: ByteCount(512 * MIB),
    sites: 5,
    later: 9,
    disk: ByteCount(2 * GIB),
    change: ByteCount(32 * MIB),
    window: Duration::from_secs(60),
};

/// Measures everything of this binary, with all files in a directory of its own below this one.
pub async fn measure(binary: &Path, quick: bool, directory: &Path) -> Result<Report> {
    let scale = if quick { QUICK } else { THOROUGH };
    let directory = tempfile::Builder::new().prefix("snapshots-").tempdir_in(directory)?;
    // Each part has its own directory, and gives it up before the next one needs the space.
    let work = || tempfile::tempdir_in(directory.path());
    let mut report = Report::default();
    report.extend(created::measure(binary, &scale, work()?.path()).await?);
    report.extend(stored::measure(binary, &scale, work()?.path()).await?);
    report.extend(alive::measure(binary, &scale, work()?.path()).await?);
    Ok(report)
}

/// Makes a VM without a guest known to a site.
async fn make_known(site: &Site, vm: &BlankVm) -> Result<()> {
    let (qmp, second) = (vm.qmp_socket(), vm.qmp_out_of_band_socket());
    let (qmp, second) = (qmp.display().to_string(), second.display().to_string());
    site.run(["vm", "add", VM, "--qmp", &qmp, "--qmp-out-of-band", &second]).await.map(drop)
}
