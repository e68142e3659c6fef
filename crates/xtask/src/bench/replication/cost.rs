//! What replication costs whoever writes: unprotected, replicated, with the link down, and while what was missed is read.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use api::ReplicationState;
use model::{ByteCount, DiskBus, DiskDefinition, DiskFormat};
use serde_json::Value;
use testkit::guest::GuestImage;

use super::{
    GIB, Scale, load,
    load::{Load, VM, Writable},
    pair::Pair,
    progress,
};
use crate::bench::report::Measurement;

const DEPTHS: [u32; 2] = [1, 16];

/// A journal that is soon full, so that the tap breaks and what is missed has to be read.
const SMALL_JOURNAL: &str = "64MiB";

/// Writes to a disk of a QEMU without a guest.
pub async fn measure_disk(binary: &Path, scale: &Scale) -> Result<Vec<Measurement>> {
    let pair = Pair::start(binary).await?;
    let disk = Writable::start(&pair.west).await?;
    let run = async |depth| disk.load(depth, scale.window).await;
    let measurements = situations(&pair, "without a guest", run).await?;
    disk.check().await?;
    Ok(measurements)
}

/// Durable writes within a guest, to a disk that nobody else writes to.
pub async fn measure_guest(binary: &Path, scale: &Scale, directory: &Path) -> Result<Vec<Measurement>> {
    progress("booting a guest");
    let pair = Pair::start(binary).await?;
    let image = GuestImage::obtain()?;
    let disks = image.create_disks(directory, DiskFormat::Qcow2, ByteCount(GIB))?;
    let mut definition = disks.definition(VM.parse()?);
    let path = directory.join("load.raw");
    fs::File::create(&path)?.set_len(GIB)?;
    definition.disks.push(DiskDefinition {
        name: "load".parse()?,
        path: Some(path),
        format: Some(DiskFormat::Raw),
        bus: DiskBus::Virtio,
        serial: Some("load".to_owned()),
        iothread: false,
    });
    pair.west.add_vm(&definition).await?;
    pair.west.run(["vm", "start", VM]).await?;
    let guest = pair.west.guest(VM).await?;
    guest.state_at_boot().await?.sound()?;
    let run = async |depth| load::in_guest(&guest, "load", depth, scale.window).await;
    situations(&pair, "in a guest, durable", run).await
}

/// The same load in each situation, beside that without protection.
async fn situations(
    pair: &Pair,
    where_from: &str,
    run: impl AsyncFn(u32) -> Result<Load>,
) -> Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    let mut unprotected = Vec::new();
    for depth in DEPTHS {
        progress(&format!("writes {where_from}, depth {depth}, unprotected"));
        unprotected.push(run(depth).await?);
    }
    let protected = pair.replicate(VM, &[]).await?;
    measurements.push(Measurement::new(
        format!("1 GiB protected for the first time, {where_from}"),
        protected.as_secs_f64(),
        "s",
    ));
    let before = pair.status(VM).await?.replica_bytes;
    let mut guest_bytes = 0.0;
    for (depth, alone) in DEPTHS.into_iter().zip(&unprotected) {
        progress(&format!("writes {where_from}, depth {depth}, replicated"));
        let load = run(depth).await?;
        guest_bytes += load.written_bytes;
        measurements.extend(beside(
            &format!("{where_from}, replicated, depth {depth}"),
            &load,
            alone,
            Some(1.5),
        ));
        pair.until_in_sync(VM).await?;
    }
    let after = pair.status(VM).await?.replica_bytes;
    if after > before {
        let ratio = (after - before) as f64 / guest_bytes;
        measurements.push(Measurement::new(
            format!("journal bytes for a byte written, {where_from}"),
            ratio,
            "B",
        ));
    }
    pair.link.set_up(false);
    for (depth, alone) in DEPTHS.into_iter().zip(&unprotected) {
        progress(&format!("writes {where_from}, depth {depth}, link down"));
        let load = run(depth).await?;
        measurements.extend(beside(
            &format!("{where_from}, link down, depth {depth}"),
            &load,
            alone,
            Some(1.5),
        ));
    }
    pair.link.set_up(true);
    pair.stop(VM).await?;
    pair.replicate(VM, &["--journal-size", SMALL_JOURNAL]).await?;
    for (depth, alone) in DEPTHS.into_iter().zip(&unprotected) {
        progress(&format!("writes {where_from}, depth {depth}, while what was missed is read"));
        break_off(pair, &run).await?;
        pair.link.set_up(true);
        let load = run(depth).await?;
        measurements.extend(beside(&format!("{where_from}, resync, depth {depth}"), &load, alone, None));
        pair.until_in_sync(VM).await?;
    }
    pair.west.json::<Value>(["replication", "status", VM]).await.context("the replication ended")?;
    pair.stop(VM).await?;
    Ok(measurements)
}

/// Has the tap give up: the link is down, and the journal full.
async fn break_off(pair: &Pair, run: &impl AsyncFn(u32) -> Result<Load>) -> Result<()> {
    const ROUNDS: usize = 60;
    pair.link.set_up(false);
    for _ in 0..ROUNDS {
        run(16).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        if pair.status(VM).await?.state == ReplicationState::Degraded {
            return Ok(());
        }
    }
    anyhow::bail!("a journal of {SMALL_JOURNAL} was never full")
}

fn beside(what: &str, load: &Load, alone: &Load, p99_limit: Option<f64>) -> [Measurement; 3] {
    let of = |name: &str| format!("{name}, {what}");
    let milliseconds = |microseconds: f64| microseconds / 1000.0;
    [
        Measurement::new(of("writes a second"), load.writes_per_second, "1/s")
            .beside("unprotected", alone.writes_per_second),
        Measurement::new(of("mean latency"), milliseconds(load.mean_us), "ms")
            .beside("unprotected", milliseconds(alone.mean_us)),
        Measurement::new(of("p99 latency"), milliseconds(load.p99_us), "ms")
            .beside("unprotected", milliseconds(alone.p99_us))
            .ratio_at_most(p99_limit),
    ]
}
