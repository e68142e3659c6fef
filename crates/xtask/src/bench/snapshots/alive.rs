//! What snapshots cost a guest that works, while they are alive and while one is copied.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
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

/// Two guests whose workloads never rest: one with nothing, one and many snapshots alive, ours first and then qcow2's internal
/// ones; and one without any, which is watched at the same times, so that what else happens on this machine happens to both.
pub async fn measure(binary: &Path, scale: &Scale, work: &Path) -> Result<Vec<Measurement>> {
    progress("booting two guests");
    let image = GuestImage::obtain()?;
    let start = async |name: &str| {
        let directory = work.join(name);
        fs::create_dir(&directory)?;
        let disks = image.create_disks(&directory, DiskFormat::Qcow2, ByteCount(GIB))?;
        GuestVm::start(&image, &disks, &VmOptions::default()).await
    };
    let guests = Guests { vm: start("vm").await?, control: start("control").await?, window: scale.window };
    let site = Site::start_with(binary).await?;
    make_known(&site, &guests.vm).await?;

    let mut rows = vec![guests.watch("no snapshot alive").await?];
    create(&site, &[]).await?;
    rows.push(guests.watch("1 snapshot alive").await?.ratio_at_most(1.2));
    for _ in 1..MANY {
        create(&site, &[]).await?;
    }
    rows.push(guests.watch(&format!("{MANY} snapshots alive")).await?.ratio_at_most(1.2));
    rows.push(guests.watch_copies(&site).await?);
    snapshot_internally(&guests.vm, 1).await?;
    rows.push(guests.watch("1 qcow2 internal snapshot more").await?);
    for number in 2..=MANY {
        snapshot_internally(&guests.vm, number).await?;
    }
    rows.push(guests.watch(&format!("{MANY} qcow2 internal snapshots more")).await?);
    Ok(rows)
}

/// The guest that is measured, and the one beside it.
struct Guests {
    vm: GuestVm,
    control: GuestVm,
    window: Duration,
}

impl Guests {
    /// The guests' own measurement of their durable appends, in one situation.
    async fn watch(&self, situation: &str) -> Result<Measurement> {
        progress(&format!("watching the guest with {situation}"));
        self.reset().await?;
        sleep(self.window).await;
        self.measurement(situation).await
    }

    /// The same while one snapshot after the other is made that reads everything.
    async fn watch_copies(&self, site: &Site) -> Result<Measurement> {
        progress("watching the guest while whole disks are copied");
        self.reset().await?;
        let begun = Instant::now();
        while begun.elapsed() < self.window {
            create(site, &["--full"]).await?;
        }
        self.measurement("whole disks copied again and again").await
    }

    async fn reset(&self) -> Result<()> {
        for vm in [&self.vm, &self.control] {
            vm.guest().workload(&["latency", "reset"]).await?;
        }
        Ok(())
    }

    async fn measurement(&self, situation: &str) -> Result<Measurement> {
        let p99_ms = |latency: Latency| latency.p99_us as f64 / 1000.0;
        let (ours, beside) = (self.vm.guest().latency().await?, self.control.guest().latency().await?);
        Ok(Measurement::new(format!("guest's durable writes, p99, {situation}"), p99_ms(ours), "ms")
            .beside("guest without", p99_ms(beside)))
    }
}

async fn make_known(site: &Site, vm: &GuestVm) -> Result<()> {
    let path = |path: PathBuf| path.display().to_string();
    let (qmp, second) = (path(vm.qmp_socket()), path(vm.qmp_out_of_band_socket()));
    let agent = path(vm.agent_socket());
    site.json::<VmView>(["vm", "add", VM, "--qmp", &qmp, "--qmp-out-of-band", &second, "--agent", &agent])
        .await
        .map(drop)
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
