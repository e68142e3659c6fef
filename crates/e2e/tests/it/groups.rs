//! Three guests in a consistency group, whose writes follow from one another.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use api::{ReplicationGroupView, SharedPointView};
use model::{ByteCount, DiskFormat};
use serde_json::Value;
use testkit::{
    agent::GuestAgent,
    guest::GuestImage,
    offline::file_of,
    qemu::{GuestVm, VmOptions},
    site::Site,
    sites::{PATIENCE, paired, until_protected},
};
use tokio::time::{Instant, sleep};

use crate::fixture::words;

const VMS: [&str; 3] = ["web", "app", "db"];

/// Shared moments that are looked at.
const MOMENTS: usize = 20;

/// Records that all guests write meanwhile, at least.
const RECORDS: u64 = 8;

/// A record of the chain, in bytes.
const RECORD_BYTES: usize = 9;

/// Has the guest write a record durably at its place.
async fn write(guest: &GuestAgent, number: u64) -> Result<()> {
    let script = format!(
        "printf '%08d\\n' {number} | dd of=/data/chain bs={RECORD_BYTES} seek={} conv=notrunc,fsync status=none",
        number - 1
    );
    guest.exec(&["/bin/sh", "-c", &script]).await.map(drop)
}

/// How many records the chain of a VM has at a moment; each has to be there in its place.
async fn chain(east: &Site, directory: &Path, vm: &str, moment: &str) -> Result<u64> {
    let disk = directory.join("data");
    east.run(words![
        "export",
        format!("replica:{vm}/{moment}/data"),
        "--format",
        "raw",
        "--to",
        disk,
        "--replace"
    ])
    .await?;
    let text = String::from_utf8(file_of(&disk, "/chain")?)?;
    let mut count = 0;
    for line in text.lines() {
        count += 1;
        ensure!(line == format!("{count:08}"), "{vm} at {moment}: record {count} is {line:?}");
    }
    Ok(count)
}

/// The shared moments that the other site has since this one.
async fn shared_since(east: &Site, number: u64) -> Result<Vec<SharedPointView>> {
    let mut points: Vec<SharedPointView> =
        east.json(["replica", "points", "--group", "shop", "--all"]).await?;
    points.retain(|point| point.number > number);
    Ok(points)
}

#[tokio::test]
async fn three_guests_show_no_effect_without_its_cause_at_any_shared_moment() -> Result<()> {
    let image = GuestImage::obtain()?;
    let (east, west) = paired().await?;
    let mut vms = Vec::new();
    for name in VMS {
        let directory = west.directory().join(name);
        std::fs::create_dir(&directory)?;
        let disks = image.create_disks(&directory, DiskFormat::Qcow2, ByteCount(32 << 20))?;
        let vm = GuestVm::start(&image, &disks, &VmOptions::default()).await?;
        // Its own program would only keep the machine busy.
        vm.guest().workload(&["pause"]).await?;
        let (qmp, out_of_band) = (vm.qmp_socket(), vm.qmp_out_of_band_socket());
        west.run(words!["vm", "add", name, "--qmp", qmp, "--qmp-out-of-band", out_of_band]).await?;
        west.json::<Value>(["replication", "start", name, "--to", "east"]).await?;
        vms.push(vm);
    }
    for name in VMS {
        until_protected(&west, name).await?;
    }
    let create = ["web", "app", "db"].map(|vm| ["--vm", vm]).concat();
    let create = ["replication", "group", "create", "shop", "--every", "500ms"].into_iter().chain(create);
    let _: ReplicationGroupView = west.json(create).await?;

    let (begun, mut number, mut points) = (Instant::now(), 0, Vec::new());
    while points.len() < MOMENTS || number < RECORDS {
        number += 1;
        for vm in &vms {
            write(&vm.guest(), number).await?;
        }
        // The other site knows of the group once it was told.
        points = shared_since(&east, 0).await.unwrap_or_default();
        if begun.elapsed() > PATIENCE {
            let group: ReplicationGroupView = west.json(["replication", "group", "show", "shop"]).await?;
            bail!("only {} shared moments: {group:?}", points.len());
        }
        sleep(Duration::from_millis(50)).await;
    }
    let directory = tempfile::tempdir_in(east.directory())?;
    let mut last = 0;
    // Spread over all that there are, and the newest of them.
    let spread: Vec<_> = points.iter().rev().step_by(points.len() / MOMENTS).take(MOMENTS).collect();
    for point in spread.iter().rev() {
        let mut counts = Vec::new();
        for vm in VMS {
            let count = chain(&east, directory.path(), vm, &point.reference).await;
            counts.push(count.with_context(|| format!("{vm} at {}", point.reference))?);
        }
        let [web, app, db] = counts[..] else { bail!("three VMs have three chains") };
        ensure!(db <= app && app <= web && web <= db + 1 && last <= db, "{}: {counts:?}", point.reference);
        last = db;
    }
    ensure!(last > 1, "the chain did not grow");
    let group: ReplicationGroupView = west.json(["replication", "group", "show", "shop"]).await?;
    println!("{number} records, {} of {} moments; {group:?}", spread.len(), points.len());
    Ok(())
}
