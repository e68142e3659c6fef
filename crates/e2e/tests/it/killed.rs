//! The server dies, again and again, in the middle of a backup of a guest that writes.

use std::{env, fs, path::Path, process, time::Duration};

use anyhow::{Context, Result};
use api::{Code, JobView, VerifyView, VmView};
use model::{Consistency, DiskFormat, JobState};
use testkit::{
    guest::GuestImage,
    qemu::{GuestVm, VmOptions},
    site::Site,
};
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{
    Numbers, back_up, backup_job, examine_point, guest_disks, protect_guest, site_with_vault,
};

const KILLS: u32 = 10;
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

/// The seed of the moments; a failure is tried again with this variable set to what was printed.
const SEED_VARIABLE: &str = "HOLDFAST_TEST_SEED";

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
    let view = protect_guest(&site, &vm, "busy").await?;
    back_up(&site, "busy").await?;
    // Slow enough for kills in the middle of reading.
    let _: VmView = site.json(["protect", "busy", "--vault", "main", "--read-limit", "12MiB"]).await?;
    let ledger = site.data_directory().join("run").join(view.id.as_str()).join("ledger.json");

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
        let in_freeze = kill % 3 == 0;
        let after_us = numbers.next() % if in_freeze { freeze_us } else { duration_us };
        if in_freeze {
            timeout(FREEZE_LIMIT, begin_of_freeze(&ledger)).await.context("waiting for the freeze")?;
        }
        sleep(Duration::from_micros(after_us)).await;
        site.kill_server().await?;
        let stage = if in_freeze { "the freeze" } else { "the backup" };
        println!("kill {kill}: {} ms into {stage}", after_us / 1000);

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

/// Returns once the guest is about to be frozen, by what Holdfast notes down for its own recovery.
async fn begin_of_freeze(ledger: &Path) {
    while !fs::read_to_string(ledger).is_ok_and(|text| text.contains("\"frozen\":true")) {
        tokio::task::yield_now().await;
    }
}

/// Proves that the guest writes durably to both disks without any help of the server; returns its last record.
async fn still_writes(vm: &GuestVm) -> Result<u64> {
    let guest = vm.guest();
    guest.workload(&["burst", "1", "/data/probe"]).await?;
    guest.workload(&["burst", "1", "/var/lib/workload/probe"]).await?;
    Ok(guest.state_now().await?.sound()?.data_last)
}

/// One dirty bitmap for each disk is all that a backup leaves.
async fn nothing_is_left(site: &Site, vm: &GuestVm) -> Result<()> {
    assert_eq!(vm.leftovers().await?, Vec::<String>::new());
    let bitmaps = vm.bitmaps().await?;
    assert!(matches!(&bitmaps[..], [root, data] if root == data), "{bitmaps:?}");
    let scratch: Vec<_> = fs::read_dir(site.data_directory().join("scratch"))?.collect();
    assert!(scratch.is_empty(), "{scratch:?}");
    Ok(())
}
