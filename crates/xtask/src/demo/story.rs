//! The story: a VM is protected, backed up, lost and brought back.

use std::{fs, time::Instant};

use anyhow::{Context, Result, ensure};
use api::{PointView, RestoredVmView, VerifyView};
use model::{ByteCount, Consistency};
use serde_json::Value;
use testkit::{
    guest::{GuestDisks, GuestImage},
    site::Site,
    workload::WorkloadState,
};

use super::{guest, progress, report::Report};

const VM: &str = "shop";
const RESTORED_VM: &str = "shop-restored";
const VAULT: &str = "main";

/// What the guest writes in one piece between the two backups, beside its workload.
const BURST_MIB: &str = "16";

/// Tells the story on a site and a VM of its own, and reports.
pub async fn tell(image: &GuestImage) -> Result<Report> {
    let mut report = Report::default();
    let site = Site::start().await?;
    let disks = boot_protected_guest(&site, image, &mut report).await?;
    let guest = site.guest(VM).await?;

    let full = back_up(&site, "full backup", &mut report).await?;
    ensure!(full.parent.is_none(), "the first backup has a parent");
    progress("letting the guest work on");
    guest.workload(&["burst", BURST_MIB]).await?;
    let before = guest.state_now().await?.sound()?;
    let incremental = back_up(&site, "incremental backup", &mut report).await?;
    ensure!(incremental.parent == Some(full.id), "the second backup does not build on the first");
    let after = guest.state_now().await?.sound()?;

    destroy(&site, &disks, &mut report).await?;
    let restored = restore(&site, &mut report).await?;
    check_nothing_is_lost(&restored, &before, &after)?;
    verify(&site, &mut report).await?;
    Ok(report)
}

async fn boot_protected_guest(site: &Site, image: &GuestImage, report: &mut Report) -> Result<GuestDisks> {
    let disks = guest::boot(site, image, VM, report).await?;
    site.json::<Value>(["vault", "create", VAULT]).await?;
    site.json::<Value>(["protect", VM, "--vault", VAULT, "--consistency", "application", "--strict"]).await?;
    Ok(disks)
}

async fn back_up(site: &Site, what: &str, report: &mut Report) -> Result<PointView> {
    progress(&format!("taking the {what}"));
    let started = Instant::now();
    let point: PointView = site.json(["backup", VM]).await?;
    report.backup(what, started.elapsed(), &point);
    ensure!(
        point.consistency_reached == Consistency::Application,
        "the {what} is not application-consistent"
    );
    Ok(point)
}

async fn destroy(site: &Site, disks: &GuestDisks, report: &mut Report) -> Result<()> {
    progress("destroying the VM and its disks");
    let started = Instant::now();
    site.json::<Value>(["vm", "stop", VM, "--force"]).await?;
    fs::remove_file(&disks.root)?;
    fs::remove_file(&disks.data)?;
    report.event("VM and disks destroyed", started.elapsed(), "");
    Ok(())
}

/// Restores the latest point as a new VM and returns what its guest finds when it boots.
async fn restore(site: &Site, report: &mut Report) -> Result<WorkloadState> {
    progress("restoring the latest point as a new VM");
    let started = Instant::now();
    let reference = format!("point:{VM}/latest");
    let directory = site.directory().join("restored").display().to_string();
    let restored: RestoredVmView = site
        .json(["restore", "vm", &reference, "--name", RESTORED_VM, "--directory", &directory, "--start"])
        .await?;
    let written: ByteCount = restored.disks.iter().map(|disk| disk.written_bytes).sum();
    report.event("restored as a new VM", started.elapsed(), format!("{written} written"));

    progress("booting the restored guest");
    let started = Instant::now();
    let state =
        site.guest(RESTORED_VM).await?.state_at_boot().await?.sound().context("the restored guest")?;
    let outcome = format!(
        "records 1 to {} on both disks, database of {} rows sound",
        state.data_last, state.database_rows
    );
    report.event("restored guest boots", started.elapsed(), outcome);
    Ok(state)
}

/// The point lies between the guest's states before and after the backup, and carries the mark of the freeze hook.
fn check_nothing_is_lost(
    restored: &WorkloadState,
    before: &WorkloadState,
    after: &WorkloadState,
) -> Result<()> {
    ensure!(restored.quiesced, "the restored disks do not carry the freeze hook's mark");
    ensure!(restored.root_last == restored.data_last, "the restored disks end at different records");
    ensure!(
        (before.data_last..=after.root_last).contains(&restored.data_last),
        "record {} was there before the backup, but the restored guest has only {}",
        before.data_last,
        restored.data_last
    );
    Ok(())
}

async fn verify(site: &Site, report: &mut Report) -> Result<()> {
    progress("verifying the vault");
    let started = Instant::now();
    let verified: VerifyView = site.json(["vault", "verify", VAULT]).await?;
    ensure!(verified.damages.is_empty(), "the vault is damaged: {:?}", verified.damages);
    let outcome = format!("{} read back, {} chunks, all sound", verified.read_bytes, verified.chunk_count);
    report.event("vault verified", started.elapsed(), outcome);
    Ok(())
}
