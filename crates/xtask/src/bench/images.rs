//! `cargo xtask bench images`: what is done with images: VMs booted from them, their disks over NBD, files out of them.

mod boot;
mod files;
mod load;
mod shown;

use std::{path::Path, time::Duration};

use anyhow::Result;
use model::{ByteCount, DiskBus, DiskDefinition, DiskFormat, Firmware, VmDefinition};
use serde_json::Value;
use testkit::site::Site;

use super::{dataset, progress, report::Report};

const GIB: u64 = 1 << 30;
const VAULT: &str = "bench";

/// How much is measured.
struct Scale {
    /// How often a VM of each size is booted.
    boots: usize,
    /// The size of the disk that is shown over NBD.
    disk: ByteCount,
    /// How long each load reads it.
    window: Duration,
    /// The size of the disk that files are taken out of.
    file_system: ByteCount,
}

const QUICK: Scale = Scale {
    boots: 3,
    disk: ByteCount(GIB),
    window: Duration::from_secs(3),
    file_system: ByteCount(100 * GIB),
};
const THOROUGH: Scale =
    Scale { boots: 7, disk: ByteCount(2 * GIB), window: Duration::from_secs(10), ..QUICK };

/// Measures everything of this binary, with all files in a directory of its own below this one.
pub async fn measure(binary: &Path, quick: bool, directory: &Path) -> Result<Report> {
    let scale = if quick { QUICK } else { THOROUGH };
    let directory = tempfile::Builder::new().prefix("images-").tempdir_in(directory)?;
    // Each part has its own directory, and gives it up before the next one needs the space.
    let work = || tempfile::tempdir_in(directory.path());
    let mut report = Report::default();
    report.extend(boot::measure(binary, &scale, work()?.path()).await?);
    report.extend(shown::measure(binary, &scale, work()?.path()).await?);
    report.extend(files::measure(binary, &scale, work()?.path()).await?);
    Ok(report)
}

/// Makes a stopped VM with this raw disk known, and backs it up.
async fn back_up_stopped(site: &Site, vm: &str, disk: &str, path: &Path) -> Result<()> {
    let definition = VmDefinition {
        name: vm.parse()?,
        uuid: None,
        cpus: 1,
        memory: ByteCount(128 << 20),
        machine: "q35".to_owned(),
        firmware: Firmware::Bios,
        disks: vec![DiskDefinition {
            name: disk.parse()?,
            path: Some(path.to_owned()),
            format: Some(DiskFormat::Raw),
            bus: DiskBus::Virtio,
            serial: None,
            iothread: false,
        }],
        networks: Vec::new(),
        agent: false,
    };
    site.add_vm(&definition).await?;
    back_up(site, vm).await
}

/// Protects a VM and backs it up.
async fn back_up(site: &Site, vm: &str) -> Result<()> {
    site.json::<Value>(["protect", vm, "--vault", VAULT, "--consistency", "crash"]).await?;
    site.json::<Value>(["backup", vm]).await?;
    Ok(())
}
