//! How long it takes until a moment is fixed, and until the command returns, whatever the disk's size.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use api::SnapshotView;
use env::{Clock as _, SystemClock};
use model::{ByteCount, DiskFormat, SnapshotState};
use serde_json::json;
use testkit::{
    qemu::{BlankDisk, BlankVm},
    site::Site,
};

use super::{GIB, MIB, Scale, VM, make_known, progress};
use crate::bench::{dataset, random::Random, report::Measurement, sample::median};

const DISK: &str = "vda";
const PEER: &str = "qcow2 internal, by QMP";

/// The sizes of the disks, in GiB.
const SIZES_GIB: [u64; 3] = [1, 100, 1000];

/// How long some snapshots took, in milliseconds from the start of the command on.
#[derive(Default)]
struct Times {
    fixed: Vec<f64>,
    returned: Vec<f64>,
}

/// Makes snapshots of running VMs whose disks have the same data and different sizes.
pub async fn measure(binary: &Path, scale: &Scale, work: &Path) -> Result<Vec<Measurement>> {
    let raw = work.join("data.raw");
    dataset::create(&raw, scale.data)?;
    let content = fs::read(&raw)?;
    let mut measurements = Vec::new();
    for size_gib in SIZES_GIB {
        progress(&format!("snapshots of a disk of {size_gib} GiB"));
        let (mut first, mut later, mut internal) = (Times::default(), Times::default(), Vec::new());
        for _ in 0..scale.sites {
            let disk = BlankDisk::new(DISK, DiskFormat::Qcow2, content.clone());
            let vm = BlankVm::start(&[disk.grown_to(ByteCount(size_gib * GIB))]).await?;
            let site = Site::start_with(binary).await?;
            make_known(&site, &vm).await?;
            create(&site, &mut first).await?;
            for number in 0..scale.later {
                let change = Random::new(number as u64).bytes(MIB as usize);
                vm.write(DISK, number * 8 * MIB as usize, &change).await?;
                create(&site, &mut later).await?;
            }
            let begun = Instant::now();
            vm.qmp("blockdev-snapshot-internal-sync", json!({"device": "vda-format", "name": "peer"}))
                .await?;
            internal.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        let internal = median(internal);
        for (which, times) in [("first snapshot of a site", first), ("later snapshot", later)] {
            let (fixed, returned) = (median(times.fixed), median(times.returned));
            measurements.extend([
                Measurement::new(format!("moment fixed, {which}, {size_gib} GiB"), fixed, "ms")
                    .at_most(1000.0),
                Measurement::new(format!("command returns, {which}, {size_gib} GiB"), returned, "ms")
                    .beside(PEER, internal),
            ]);
        }
    }
    Ok(measurements)
}

/// Makes a snapshot, notes how long that took, and waits until it is copied.
async fn create(site: &Site, times: &mut Times) -> Result<()> {
    let (begun_at, begun) = (SystemClock.now(), Instant::now());
    let made: SnapshotView = site.json(["snapshot", "create", VM]).await?;
    let returned = begun.elapsed();
    let fixed_at = made.taken_at.context("the command returned before the moment was fixed")?;
    times.returned.push(returned.as_secs_f64() * 1000.0);
    times.fixed.push(fixed_at.microseconds_since(begun_at) as f64 / 1000.0);
    let job = made.job_id.context("no job makes the snapshot")?;
    site.run(["job", "watch", job.as_str()]).await?;
    let copied: SnapshotView = site.json(["snapshot", "show", made.name.as_str()]).await?;
    ensure!(copied.state == SnapshotState::Ready, "the snapshot was not copied: {copied:?}");
    Ok(())
}
