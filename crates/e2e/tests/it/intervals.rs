//! A guest is replicated at intervals while it writes; its server is killed in the middle of one.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use api::{ReplicaPointView, ReplicationView, StoppedReplicationView};
use serde_json::Value;
use testkit::{
    guest::GuestImage,
    qemu::{GuestVm, VmOptions},
    site::Site,
    sites::{PATIENCE, paired, until_protected},
};
use tokio::time::{Instant, sleep};

use crate::{
    fixture::{guest_disks, words},
    replication::examine_moment,
};

/// Has the guest write until the other site shows so many moments.
async fn write_until(east: &Site, vm: &GuestVm, count: usize) -> Result<Vec<ReplicaPointView>> {
    let begun = Instant::now();
    loop {
        vm.guest().workload(&["burst", "1"]).await?;
        let points: Vec<ReplicaPointView> = east.json(["replica", "points", "busy"]).await?;
        if points.len() >= count {
            return Ok(points);
        }
        if begun.elapsed() > PATIENCE {
            bail!("there are never {count} moments: {points:?}");
        }
    }
}

/// Waits until a moment is being held in the VM.
async fn until_held(vm: &GuestVm) -> Result<()> {
    let begun = Instant::now();
    while vm.leftovers().await?.is_empty() {
        ensure!(begun.elapsed() < PATIENCE, "no moment is ever held");
        sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_guest_that_writes_is_sound_at_each_interval_also_after_its_server_was_killed_in_one() -> Result<()>
{
    let image = GuestImage::obtain()?;
    let (east, mut west) = paired().await?;
    let vm = GuestVm::start(&image, &guest_disks(&west, &image)?, &VmOptions::default()).await?;
    vm.guest().state_at_boot().await?.sound()?;
    let (qmp, out_of_band, agent) = (vm.qmp_socket(), vm.qmp_out_of_band_socket(), vm.agent_socket());
    west.run(words!["vm", "add", "busy", "--qmp", qmp, "--qmp-out-of-band", out_of_band, "--agent", agent])
        .await?;
    let start = ["replication", "start", "busy", "--to", "east", "--mode", "interval", "--every", "5s"];
    west.json::<Value>(start).await?;
    until_protected(&west, "busy").await?;

    let before = write_until(&east, &vm, 2).await?;
    until_held(&vm).await?;
    west.kill_server().await?;
    vm.guest().workload(&["burst", "4"]).await?;
    west.start_server().await?;
    let after = write_until(&east, &vm, before.len() + 2).await?;
    let view: ReplicationView = west.json(["replication", "status", "busy"]).await?;
    println!("RPO {:?} s, p99 {:?} s, {view:?}", view.rpo_seconds, view.rpo_p99_seconds);
    println!("the guest's appends: {:?}", vm.guest().workload(&["latency"]).await);

    let stopped: StoppedReplicationView = west.json(["replication", "stop", "busy", "--yes"]).await?;
    assert_eq!(stopped.problems, Vec::<String>::new());
    assert_eq!((vm.leftovers().await?, vm.bitmaps().await?), (Vec::<String>::new(), Vec::new()));
    let mut last = 0;
    for point in after.iter().rev().take(3).rev() {
        let name = format!("#{}", point.sequence);
        let state = examine_moment(&east, &name).await.with_context(|| name.clone())?;
        let workload = state.workload.sound().with_context(|| name.clone())?;
        ensure!(workload.root_last > last, "{name}: {} records, and {last} before", workload.root_last);
        last = workload.root_last;
    }
    Ok(())
}
