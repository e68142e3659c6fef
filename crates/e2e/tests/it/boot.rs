//! VMs that run from a recovery point at once.

use std::{fs, os::unix::net::UnixStream, path::PathBuf};

use anyhow::{Context, Result};
use api::{HydratedView, JobView, RestoredVmView, VmView};
use rustix::process::{Pid, Signal, kill_process};
use testkit::{
    command::run,
    guest::{GuestDisks, GuestImage},
    site::Site,
    workload::WorkloadState,
};
use tokio::time::{Duration, timeout};

use crate::{
    fixture::{back_up, files_below, guest_disks, job_until, site_with_vault, words},
    small_file_system::SmallFileSystem,
};

const DAMAGED: i32 = 8;

/// Reads every file of the guest's system from its disk.
const READ_ALL: [&str; 3] = [
    "/bin/sh",
    "-c",
    "echo 3 > /proc/sys/vm/drop_caches; find /usr /bin /sbin -type f -exec cat {} + | wc -c",
];

/// A site with a point of a guest that has shut down, and what was on its disks.
pub async fn site_with_point() -> Result<(Site, GuestDisks, WorkloadState)> {
    let image = GuestImage::obtain()?;
    let site = site_with_vault().await?;
    let disks = guest_disks(&site, &image)?;
    site.boot("web-1", &disks).await?;
    let guest = site.guest("web-1").await?;
    let _: VmView = site.json(["protect", "web-1", "--vault", "main"]).await?;
    guest.workload(&["burst", "4"]).await?;
    let noted = guest.state_now().await?.sound()?;
    back_up(&site, "web-1").await?;
    let _: VmView = site.json(["vm", "stop", "web-1", "--force"]).await?;
    Ok((site, disks, noted))
}

async fn boot(site: &Site, more: &[&str]) -> Result<RestoredVmView> {
    let words = ["boot", "point:web-1/latest", "--name", "web-2"];
    site.json(words.iter().chain(more).copied().collect::<Vec<_>>()).await
}

/// The images that a disk's file still needs.
pub fn images_below(disk: &str) -> Result<usize> {
    let info = run(std::process::Command::new("qemu-img").args(["info", "--force-share", disk]))?;
    Ok(info.lines().filter(|line| line.starts_with("backing file:")).count())
}

/// Where the vault is, and where it goes to be out of reach.
fn vault_places(site: &Site) -> (PathBuf, PathBuf) {
    let here = site.data_directory().join("vaults/main");
    (here.clone(), here.with_file_name("away"))
}

#[tokio::test]
async fn a_vm_runs_at_once_survives_all_deaths_and_depends_on_nothing_in_the_end() -> Result<()> {
    let (mut site, _disks, noted) = site_with_point().await?;
    let booted = boot(&site, &["--hydrate-limit", "1MiB"]).await?;
    assert!(booted.started && booted.hydration_job.is_some());
    let guest = site.guest("web-2").await?;
    let found = guest.state_at_boot().await?.sound()?;
    assert!(found.root_last >= noted.root_last && found.data_last >= noted.data_last, "{found:?} {noted:?}");
    let view: VmView = site.json(["vm", "show", "web-2"]).await?;
    assert!(!view.dependent_disks.is_empty(), "{view:?}");

    // The server dies: the guest goes on, and waits for what it has not read yet.
    site.kill_server().await?;
    let reading = tokio::spawn(async move { guest.exec(&READ_ALL).await });
    site.start_server().await?;
    reading.await??;

    // A backup comes between, and takes what is only in the point too.
    let _: VmView = site.json(["protect", "web-2", "--vault", "main"]).await?;
    back_up(&site, "web-2").await?;

    // QEMU dies: what the guest knew to be durable is there.
    let guest = site.guest("web-2").await?;
    guest.workload(&["burst", "2"]).await?;
    let noted = guest.state_now().await?.sound()?;
    kill_qemu(&site, &booted)?;
    let resumed: HydratedView = site.json(["boot", "--resume", "web-2"]).await?;
    assert_eq!(resumed.name, "web-2");
    let found = site.guest("web-2").await?.state_at_boot().await?.sound()?;
    assert!(found.root_last >= noted.root_last && found.data_last >= noted.data_last, "{found:?} {noted:?}");

    // Nothing depends on the vault any more.
    let view: VmView = site.json(["vm", "show", "web-2"]).await?;
    assert!(view.dependent_disks.is_empty(), "{view:?}");
    for disk in &booted.disks {
        assert_eq!(images_below(&disk.path)?, 0, "{}", disk.path);
    }
    let (here, away) = vault_places(&site);
    fs::rename(&here, &away)?;
    let guest = site.guest("web-2").await?;
    guest.exec(&READ_ALL).await?;
    guest.state_now().await?.sound()?;
    fs::rename(&away, &here)?;
    Ok(())
}

/// Kills a VM's QEMU, and returns when nobody listens on its monitor any more.
fn kill_qemu(site: &Site, vm: &RestoredVmView) -> Result<()> {
    let directory = site.data_directory().join("run").join(&vm.vm_id);
    let process = fs::read_to_string(directory.join("qemu.pid"))?.trim().parse()?;
    kill_process(Pid::from_raw(process).context("a process has a number")?, Signal::KILL)?;
    while UnixStream::connect(directory.join("qmp.sock")).is_ok() {
        std::thread::yield_now();
    }
    Ok(())
}

#[tokio::test]
async fn while_the_vault_is_away_the_guest_waits() -> Result<()> {
    let (site, ..) = site_with_point().await?;
    boot(&site, &["--no-hydrate"]).await?;
    let (_, refused) = site.failure(["point", "delete", "point:web-1/latest", "--yes"]).await?;
    assert!(refused.contains("web-2 runs from"), "{refused}");
    let guest = site.guest("web-2").await?;
    guest.state_at_boot().await?.sound()?;
    let (here, away) = vault_places(&site);
    fs::rename(&here, &away)?;
    let mut reading = tokio::spawn(async move { guest.exec(&READ_ALL).await });
    let told = async {
        loop {
            let view: VmView = site.json(["vm", "show", "web-2"]).await?;
            if view.dependent_disks.iter().any(|dependent| dependent.failure.is_some()) {
                return Ok::<_, anyhow::Error>(view);
            }
        }
    };
    let view =
        timeout(Duration::from_secs(60), told).await.context("nobody tells that the vault is away")??;
    assert_eq!(view.power, "running");
    assert!(!reading.is_finished(), "{:?}", (&mut reading).await);
    fs::rename(&away, &here)?;
    reading.await??;
    site.guest("web-2").await?.state_now().await?.sound()?;
    Ok(())
}

#[tokio::test]
async fn damage_is_named_and_once_it_is_healed_the_disks_become_whole() -> Result<()> {
    let (site, ..) = site_with_point().await?;
    let booted = boot(&site, &["--no-hydrate"]).await?;
    site.guest("web-2").await?.state_at_boot().await?.sound()?;
    let packs = files_below(&vault_places(&site).0.join("packs"))?;
    let sound: Vec<_> = packs.iter().map(fs::read).collect::<Result<_, _>>()?;
    for (path, bytes) in packs.iter().zip(&sound) {
        let mut bytes = bytes.clone();
        bytes.iter_mut().skip(64).step_by(4096).for_each(|byte| *byte ^= 1);
        fs::remove_file(path)?;
        fs::write(path, bytes)?;
    }
    let (code, message) = site.failure(["boot", "--resume", "web-2"]).await?;
    assert!(code == DAMAGED && message.contains("vault repair"), "{code}: {message}");
    let view: VmView = site.json(["vm", "show", "web-2"]).await?;
    assert!(view.power == "running" && !view.dependent_disks.is_empty(), "{view:?}");
    for (path, bytes) in packs.iter().zip(&sound) {
        fs::remove_file(path)?;
        fs::write(path, bytes)?;
    }
    // What was found to be damaged is looked at anew by a server that has just started, or after a repair.
    let _: api::RepairView = site.json(["vault", "repair", "main"]).await?;
    let _: HydratedView = site.json(["boot", "--resume", "web-2"]).await?;
    for disk in &booted.disks {
        assert_eq!(images_below(&disk.path)?, 0);
    }
    // What the guest saw while its disk was bad is its own affair.
    Ok(())
}

#[tokio::test]
async fn a_full_disk_stops_the_copying_and_not_more() -> Result<()> {
    let (site, ..) = site_with_point().await?;
    let small = SmallFileSystem::mount(&site.directory().join("small"))?;
    let directory = small.path().join("web-2");
    let booted: RestoredVmView = site
        .json(words![
            "boot",
            "point:web-1/latest",
            "--name",
            "web-2",
            "--no-hydrate",
            "--directory",
            directory
        ])
        .await?;
    site.guest("web-2").await?.state_at_boot().await?.sound()?;
    let ballast = small.fill()?;
    let (code, message) = site.failure(["boot", "--resume", "web-2"]).await?;
    assert!(message.contains("make room"), "{code}: {message}");
    fs::remove_file(ballast)?;
    let _: HydratedView = site.json(["boot", "--resume", "web-2"]).await?;
    for disk in &booted.disks {
        assert_eq!(images_below(&disk.path)?, 0);
    }
    site.guest("web-2").await?.state_now().await?.sound()?;
    Ok(())
}

#[tokio::test]
async fn a_cancelled_hydration_leaves_the_vm_as_it_is() -> Result<()> {
    let (site, ..) = site_with_point().await?;
    let booted = boot(&site, &["--hydrate-limit", "1MiB"]).await?;
    let job = booted.hydration_job.context("the disks become whole")?;
    let job: JobView = site.json(["job", "show", job.as_str()]).await?;
    job_until(&site, &job, |progress| progress["done_bytes"].as_u64() > Some(0)).await?;
    site.run(["job", "cancel", job.id.as_str()]).await?;
    site.failure(["job", "watch", job.id.as_str()]).await?;
    assert_eq!(images_below(&booted.disks[0].path)?, 1);
    site.guest("web-2").await?.state_at_boot().await?.sound()?;
    let _: VmView = site.json(["vm", "stop", "web-2", "--force"]).await?;
    site.run(["vm", "remove", "web-2"]).await?;
    Ok(())
}
