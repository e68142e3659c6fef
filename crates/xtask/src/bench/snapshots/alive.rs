//! What snapshots cost a guest that works, while they are alive and while one is copied.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Result, ensure};
use api::{SnapshotView, VmView};
use model::{ByteCount, DiskFormat, SnapshotState};
use serde_json::json;
use testkit::{
    guest::GuestImage,
    qemu::{GuestVm, VmOptions},
    site::Site,
    workload::Latency,
};
use tokio::time::sleep;

use super::{GIB, Scale, VM, progress};
use crate::bench::report::Measurement;

/// How many snapshots are alive.
const MANY: usize = 10;

/// A guest whose workload never rests, with nothing, one and many snapshots alive: ours first, then qcow2's internal ones.
pub async fn measure(binary: &Path, scale: &Scale, work: &Path) -> Result<Vec<Measurement>> {
    progress("booting a guest");
    let image = GuestImage::obtain()?;
    let disks = image.create_disks(work, DiskFormat::Qcow2, ByteCount(GIB))?;
    let vm = GuestVm::start(&image, &disks, &VmOptions::default()).await?;
    let site = Site::start_with(binary).await?;
    make_known(&site, &vm).await?;

    let none = watch(&vm, scale, "no snapshot is alive").await?;
    create(&site, &[]).await?;
    let one = watch(&vm, scale, "one snapshot is alive").await?;
    for _ in 1..MANY {
        create(&site, &[]).await?;
    }
    let many = watch(&vm, scale, &format!("{MANY} snapshots are alive")).await?;
    let copying = watch_copies(&vm, &site, scale).await?;
    snapshot_internally(&vm, 1).await?;
    let one_internal = watch(&vm, scale, "one internal snapshot is alive").await?;
    for number in 2..=MANY {
        snapshot_internally(&vm, number).await?;
    }
    let many_internal = watch(&vm, scale, &format!("{MANY} internal snapshots are alive")).await?;

    let p99_ms = |latency: &Latency| latency.p99_us as f64 / 1000.0;
    let row = |what: String, latency: &Latency, peer: &str, beside: &Latency| {
        Measurement::new(format!("guest's durable writes, p99, {what}"), p99_ms(latency), "ms")
            .beside(peer, p99_ms(beside))
    };
    let alone = "no snapshot";
    Ok(vec![
        Measurement::new("guest's durable writes, p99, no snapshot alive", p99_ms(&none), "ms"),
        row("1 snapshot alive".to_owned(), &one, alone, &none).ratio_at_most(1.2),
        row(format!("{MANY} snapshots alive"), &many, alone, &none).ratio_at_most(1.2),
        row("whole disks copied again and again".to_owned(), &copying, alone, &none),
        row("1 snapshot alive".to_owned(), &one, "1 qcow2 internal", &one_internal),
        row(format!("{MANY} snapshots alive"), &many, "10 qcow2 internal", &many_internal),
    ])
}

async fn make_known(site: &Site, vm: &GuestVm) -> Result<()> {
    let path = |path: PathBuf| path.display().to_string();
    let (qmp, second) = (path(vm.qmp_socket()), path(vm.qmp_out_of_band_socket()));
    let agent = path(vm.agent_socket());
    site.json::<VmView>(["vm", "add", VM, "--qmp", &qmp, "--qmp-out-of-band", &second, "--agent", &agent])
        .await
        .map(drop)
}

/// The guest's own measurement of its durable appends, in one situation.
async fn watch(vm: &GuestVm, scale: &Scale, situation: &str) -> Result<Latency> {
    progress(&format!("watching the guest while {situation}"));
    vm.guest().workload(&["latency", "reset"]).await?;
    sleep(scale.window).await;
    vm.guest().latency().await
}

/// The same while one snapshot after the other is made that reads everything.
async fn watch_copies(vm: &GuestVm, site: &Site, scale: &Scale) -> Result<Latency> {
    progress("watching the guest while whole disks are copied");
    vm.guest().workload(&["latency", "reset"]).await?;
    let begun = Instant::now();
    while begun.elapsed() < scale.window {
        create(site, &["--full"]).await?;
    }
    vm.guest().latency().await
}

/// Makes a snapshot, all of which is in the store when this returns.
async fn create(site: &Site, more: &[&str]) -> Result<()> {
    let words = ["snapshot", "create", VM, "--wait"];
    let made: SnapshotView = site.json(words.iter().chain(more)).await?;
    ensure!(made.state == SnapshotState::Ready, "the snapshot was not copied: {made:?}");
    Ok(())
}

/// Makes an internal snapshot of both disks at one moment, as libvirt does.
async fn snapshot_internally(vm: &GuestVm, number: usize) -> Result<()> {
    let name = number.to_string();
    let of_disk = |disk: &str| {
        let data = json!({"device": format!("{disk}-format"), "name": name});
        json!({"type": "blockdev-snapshot-internal-sync", "data": data})
    };
    let actions = json!({"actions": [of_disk("root"), of_disk("data")]});
    vm.qmp("transaction", actions).await.map(drop)
}
