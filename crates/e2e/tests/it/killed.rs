//! The server dies, again and again, in the middle of a backup of a guest that writes.

use std::{env, fs, process, time::Duration};

use anyhow::{Context, Result};
use api::{Code, JobView, VerifyView, VmView};
use model::{Consistency, DiskFormat, JobState};
use serde_json::Value;
use testkit::{
    guest::GuestImage,
    qemu::{GuestVm, VmOptions},
    site::Site,
};
use tokio::time::{Instant, sleep};

use crate::fixture::{
    Numbers, back_up, backup_job, examine_point, guest_disks, job_until, protect_guest, site_with_vault,
};

const KILLS: usize = 10;
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

/// The size of one record of the guest's workload.
const RECORD_BYTES: u64 = 128;

/// The part of a backup in which the server dies.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// At a random moment of the whole.
    Anywhere,
    /// At a random moment after the order to freeze, which begins with the guest's hooks.
    Freezing,
    /// As soon as the guest is known to be frozen.
    Frozen,
}

/// What the kills aim at, in turn.
const STAGES: [Stage; 5] =
    [Stage::Anywhere, Stage::Freezing, Stage::Anywhere, Stage::Frozen, Stage::Anywhere];

/// The seed of the moments; a failure is tried again with this variable set to what was printed.
pub const SEED_VARIABLE: &str = "HOLDFAST_TEST_SEED";

#[tokio::test]
async fn a_server_that_is_killed_ten_times_never_holds_up_its_guest() -> Result<()> {
    let seed = match env::var(SEED_VARIABLE) {
        Ok(seed) => seed.parse().context(SEED_VARIABLE)?,
        Err(_) => process::id().into(),
    };
    println!("{SEED_VARIABLE}={seed}");
    let mut numbers = Numbers::new(seed);

    let image = GuestImage::obtain()?;
    let mut site = site_with_vault().await?;
    let vm = GuestVm::start(&image, &guest_disks(&site, &image)?, &VmOptions::default()).await?;
    vm.guest().state_at_boot().await?.sound()?;
    protect_guest(&site, &vm, "busy").await?;
    back_up(&site, "busy").await?;
    // Slow enough for kills in the middle of reading.
    let _: VmView = site.json(["protect", "busy", "--vault", "main", "--read-limit", "12MiB"]).await?;

    vm.guest().workload(&["burst", "4"]).await?;
    let begun = Instant::now();
    let undisturbed = back_up(&site, "busy").await?;
    let duration_us = u64::try_from(begun.elapsed().as_micros())?;
    let freeze_us = undisturbed.cost.freeze_us.context("the guest was frozen")?;
    vm.guest().workload(&["latency", "reset"]).await?;

    let mut noted = 0;
    for kill in 1..=KILLS {
        vm.guest().workload(&["burst", "4"]).await?;
        let job = backup_job(&site, "busy").await?;
        let stage = STAGES[kill % STAGES.len()];
        let within_us = match stage {
            Stage::Anywhere => duration_us,
            Stage::Freezing => freeze_us,
            Stage::Frozen => 1,
        };
        reach(&site, &job, stage).await?;
        let moment = Duration::from_micros(numbers.next() % within_us);
        sleep(moment).await;
        site.kill_server().await?;
        println!("kill {kill}: {stage:?}, after {moment:?}");

        noted = still_writes(&vm).await?;
        site.start_server().await?;
        let job: JobView = site.json(["job", "show", job.id.as_str()]).await?;
        let interrupted = job.problem.as_ref().is_some_and(|problem| problem.code == Code::Interrupted);
        assert!(job.state == JobState::Succeeded || interrupted, "{job:?}");
        let point = back_up(&site, "busy").await?;
        assert_eq!(point.consistency_reached, Consistency::Application, "{point:?}");
        nothing_is_left(&site, &vm).await?;
    }

    let latency = vm.guest().latency().await?;
    println!("the guest: {latency:?}");
    assert!(Duration::from_micros(latency.longest_gap_us) < FREEZE_LIMIT, "{latency:?}");
    let verified: VerifyView = site.json(["vault", "verify", "main"]).await?;
    assert_eq!(verified.damages, []);
    let last = examine_point(&site, "point:busy/latest", DiskFormat::Raw).await?;
    assert!(last.file_systems_clean);
    let last = last.workload.sound()?;
    assert!(last.quiesced && last.data_last >= noted, "{last:?} after record {noted}");
    Ok(())
}

/// Returns once a backup has come to a stage.
async fn reach(site: &Site, job: &JobView, stage: Stage) -> Result<()> {
    let phases: &[&str] = match stage {
        Stage::Anywhere => return Ok(()),
        Stage::Freezing => &["freezing", "fixing", "thawing", "reading"],
        // A phase that is over in milliseconds may never be seen.
        Stage::Frozen => &["fixing", "thawing", "reading"],
    };
    let is_there = |progress: &Value| {
        progress["phase"].as_str().is_some_and(|now| phases.iter().any(|phase| now.starts_with(phase)))
    };
    job_until(site, job, is_there).await
}

/// Proves that the guest writes durably to both disks without any help of the server; returns its last record.
async fn still_writes(vm: &GuestVm) -> Result<u64> {
    let guest = vm.guest();
    guest.workload(&["burst", "1", "/data/probe"]).await?;
    guest.workload(&["burst", "1", "/var/lib/workload/probe"]).await?;
    let records = guest.exec(&["/bin/sh", "-c", "wc -c < /data/records"]).await?;
    Ok(records.trim().parse::<u64>()? / RECORD_BYTES)
}

/// One dirty bitmap for each disk is all that a backup leaves.
async fn nothing_is_left(site: &Site, vm: &GuestVm) -> Result<()> {
    assert_eq!(vm.leftovers().await?, Vec::<String>::new());
    let bitmaps = vm.bitmaps().await?;
    // Named holdfast-<capture>-<disk>.
    let captures: Vec<_> =
        bitmaps.iter().filter_map(|name| name.rsplit_once('-')).map(|(capture, _)| capture).collect();
    assert!(matches!(&captures[..], [one, other] if one == other) && bitmaps[0] != bitmaps[1], "{bitmaps:?}");
    let scratch: Vec<_> = fs::read_dir(site.data_directory().join("scratch"))?.collect();
    assert!(scratch.is_empty(), "{scratch:?}");
    Ok(())
}
