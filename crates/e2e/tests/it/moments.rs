//! A guest writes records while it is replicated: at whatever moment it is looked at, it is sound.

use std::{env, process, time::Duration};

use anyhow::{Context, Result, ensure};
use api::{ReplicaView, ReplicationView};
use model::Timestamp;
use serde_json::Value;
use testkit::{
    guest::GuestImage,
    qemu::{GuestVm, VmOptions},
    site::Site,
    sites::{paired, until, until_protected},
};
use tokio::time::{Instant, sleep};

use crate::{
    fixture::{Numbers, guest_disks, words},
    killed::SEED_VARIABLE,
    replication::examine_moment,
};

/// How many moments are looked at. More are asked for by this variable; fifty take some minutes.
const MOMENTS_VARIABLE: &str = "HOLDFAST_TEST_MOMENTS";
const MOMENTS: u64 = 10;

/// For how long the guest writes.
const SPAN: Duration = Duration::from_secs(15);

fn number_from(variable: &str, default: u64) -> Result<u64> {
    match env::var(variable) {
        Ok(number) => number.parse().with_context(|| variable.to_owned()),
        Err(_) => Ok(default),
    }
}

/// The newest time that the other site has.
async fn newest_there(east: &Site) -> Result<Timestamp> {
    let view: ReplicaView = east.json(["replica", "show", "busy"]).await?;
    view.newest_at.context("nothing has come")
}

#[tokio::test]
async fn a_guest_that_writes_is_sound_at_random_moments() -> Result<()> {
    let seed = number_from(SEED_VARIABLE, process::id().into())?;
    let count = number_from(MOMENTS_VARIABLE, MOMENTS)?;
    println!("{SEED_VARIABLE}={seed} {MOMENTS_VARIABLE}={count}");
    let image = GuestImage::obtain()?;
    let (east, west) = paired().await?;
    let vm = GuestVm::start(&image, &guest_disks(&west, &image)?, &VmOptions::default()).await?;
    let (qmp, out_of_band, agent) = (vm.qmp_socket(), vm.qmp_out_of_band_socket(), vm.agent_socket());
    west.run(words!["vm", "add", "busy", "--qmp", qmp, "--qmp-out-of-band", out_of_band, "--agent", agent])
        .await?;
    west.json::<Value>(["replication", "start", "busy", "--to", "east"]).await?;
    until_protected(&west, "busy").await?;

    // Before, its database is there without its table, which is as it should be and not what is looked at.
    vm.guest().workload(&["burst", "1"]).await?;
    let ready: ReplicationView = west.json(["replication", "status", "busy"]).await?;
    let is_later = |view: &ReplicationView| view.newest_checkpoint_at > ready.newest_checkpoint_at;
    let from = until(&west, "busy", "a checkpoint there", is_later).await?;
    let from = from.newest_checkpoint_at.context("it has one")?;
    let begun = Instant::now();
    while begun.elapsed() < SPAN {
        vm.guest().workload(&["burst", "1"]).await?;
        sleep(Duration::from_millis(500)).await;
    }
    let span_us = newest_there(&east).await?.microseconds_since(from);
    ensure!(span_us > 0, "nothing has come in {SPAN:?}");

    let mut numbers = Numbers::new(seed);
    let mut moments: Vec<_> = (0..count).map(|_| numbers.next() % span_us.unsigned_abs()).collect();
    moments.sort_unstable();
    let mut last = 0;
    for after_us in moments {
        let moment = Timestamp::from_microseconds(from.as_microseconds() + after_us.cast_signed());
        let state = examine_moment(&east, &moment.to_string()).await.with_context(|| moment.to_string())?;
        let workload = state.workload.sound().with_context(|| moment.to_string())?;
        ensure!(workload.root_last >= last, "{moment}: {} records, and {last} before", workload.root_last);
        last = workload.root_last;
    }
    ensure!(last > 0, "no record was seen");
    let view: ReplicationView = west.json(["replication", "status", "busy"]).await?;
    ensure!(view.breaks == 0, "the tap broke: {view:?}");
    println!("{count} moments in {span_us} us, {last} records at the last");
    Ok(())
}
