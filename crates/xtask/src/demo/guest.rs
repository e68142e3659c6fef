//! The guest that the stories are about.

use std::{fs, time::Instant};

use anyhow::{Context, Result};
use model::{ByteCount, DiskFormat};
use testkit::{
    guest::{GuestDisks, GuestImage},
    site::Site,
};

use super::report::Report;

const DATA_SIZE: ByteCount = ByteCount(1 << 30);

/// Boots a VM of this name with new disks.
pub async fn boot(site: &Site, image: &GuestImage, vm: &str, report: &mut Report) -> Result<GuestDisks> {
    eprintln!("booting the guest");
    let started = Instant::now();
    let directory = site.directory().join("disks");
    fs::create_dir(&directory)?;
    let disks = image.create_disks(&directory, DiskFormat::Qcow2, DATA_SIZE)?;
    site.boot(vm, &disks).await.context("the new guest")?;
    report.event("guest boots", started.elapsed(), "records on two disks, a database");
    Ok(disks)
}
