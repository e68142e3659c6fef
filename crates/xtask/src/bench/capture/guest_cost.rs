//! What backups cost a guest that works: latency of its durable writes, pauses, freezes; and what incrementals read.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Result;
use api::{PointView, VmView};
use model::{ByteCount, Consistency, DiskFormat};
use serde_json::json;
use testkit::{
    agent::GuestAgent,
    guest::GuestImage,
    qemu::{GuestVm, VmOptions},
    site::Site,
    workload::Latency,
};
use tokio::time::sleep;

use super::{
    Scale, incremental,
    protected::{ProtectedVm, VM},
    throughput::compressed_conversion,
    to_qcow2,
};
use crate::bench::{process, progress, report::Measurement};

/// How much larger the disk is that has the same content.
pub const LARGE_FACTOR: u64 = 8;

/// A real guest whose workload never rests, with two more disks that hold the same written data.
pub async fn measure(binary: &Path, scale: &Scale, raw: &Path, work: &Path) -> Result<Vec<Measurement>> {
    progress("booting a guest");
    let image = GuestImage::obtain()?;
    let disks = image.create_disks(work, DiskFormat::Qcow2, ByteCount(1 << 30))?;
    let (small, large) = (work.join("small.qcow2"), work.join("large.qcow2"));
    to_qcow2(raw, &small, scale.disk)?;
    to_qcow2(raw, &large, ByteCount(scale.disk.0 * LARGE_FACTOR))?;
    let more_disks = [("small", &small), ("large", &large)];
    let extra_arguments =
        more_disks.into_iter().flat_map(|(name, path)| disk_arguments(name, path)).collect();
    let vm = GuestVm::start(&image, &disks, &VmOptions { extra_arguments, ..VmOptions::default() }).await?;

    let site = Site::start_with(binary).await?;
    make_known(&site, &vm).await?;
    let watch = Watch { guest: vm.guest(), window: scale.window };
    let mut protected = ProtectedVm::new(&site, Consistency::Application, work);
    let (latencies, points) = watch_backups(&watch, &mut protected, &small, work).await?;
    let mut measurements = latencies.measurements();
    measurements.extend(costs(&points));
    measurements.extend(incremental::measure(&watch.guest, &protected, scale.disk).await?);
    Ok(measurements)
}

/// A further disk of the VM; device, node and serial number have its name.
fn disk_arguments(name: &str, path: &Path) -> [String; 4] {
    let node = json!({
        "driver": "qcow2",
        "node-name": format!("{name}-format"),
        "file": { "driver": "file", "node-name": format!("{name}-file"), "filename": path },
    });
    let device = format!("virtio-blk-pci,id={name},drive={name}-format,serial={name}");
    ["-blockdev".to_owned(), node.to_string(), "-device".to_owned(), device]
}

async fn make_known(site: &Site, vm: &GuestVm) -> Result<()> {
    let path = |path: PathBuf| path.display().to_string();
    let (qmp, second) = (path(vm.qmp_socket()), path(vm.qmp_out_of_band_socket()));
    let agent = path(vm.agent_socket());
    site.json::<VmView>(["vm", "add", VM, "--qmp", &qmp, "--qmp-out-of-band", &second, "--agent", &agent])
        .await
        .map(drop)
}

/// The guest's own measurement of its durable appends.
struct Watch {
    guest: GuestAgent,
    /// The shortest time watched.
    window: Duration,
}

impl Watch {
    /// The latency while something is done again and again.
    async fn during(&self, mut work: impl AsyncFnMut() -> Result<()>) -> Result<Latency> {
        self.guest.workload(&["latency", "reset"]).await?;
        let started = Instant::now();
        while started.elapsed() < self.window {
            work().await?;
        }
        self.guest.latency().await
    }
}

struct Latencies {
    idle: Latency,
    conversion: Latency,
    full: Latency,
    incremental: Latency,
}

/// Watches the guest while it is left alone and backed up, with the peer between; ends on a vault that incrementals can build on.
async fn watch_backups(
    watch: &Watch,
    protected: &mut ProtectedVm<'_>,
    disk: &Path,
    work: &Path,
) -> Result<(Latencies, Vec<PointView>)> {
    let mut points = Vec::new();
    progress("watching the guest left alone");
    let idle = watch
        .during(async || {
            sleep(watch.window).await;
            Ok(())
        })
        .await?;
    progress("watching the guest beside qemu-img convert");
    let target = work.join("conversion.qcow2");
    let conversion = watch
        .during(async || process::measure(&mut compressed_conversion(disk, &target)).await.map(drop))
        .await?;
    std::fs::remove_file(&target)?;
    progress("watching the guest during full backups");
    let full = watch
        .during(async || {
            protected.change_vault().await?;
            points.push(protected.back_up().await?.0);
            Ok(())
        })
        .await?;
    progress("watching the guest during incremental backups");
    let incremental = watch
        .during(async || {
            points.push(protected.back_up().await?.0);
            Ok(())
        })
        .await?;
    Ok((Latencies { idle, conversion, full, incremental }, points))
}

impl Latencies {
    fn measurements(&self) -> Vec<Measurement> {
        let p99_ms = |latency: &Latency| latency.p99_us as f64 / 1000.0;
        let beside_idle = |what: &str, latency: &Latency| {
            Measurement::new(format!("guest's durable writes, p99 {what}"), p99_ms(latency), "ms")
                .beside("left alone", p99_ms(&self.idle))
        };
        vec![
            beside_idle("during full backups", &self.full).ratio_at_most(1.2),
            beside_idle("during incremental backups", &self.incremental).ratio_at_most(1.2),
            beside_idle("beside qemu-img convert, zstd", &self.conversion),
            Measurement::new(
                "guest's durable writes, longest gap in full backups",
                self.full.longest_gap_us as f64 / 1000.0,
                "ms",
            )
            .beside("left alone", self.idle.longest_gap_us as f64 / 1000.0),
        ]
    }
}

/// The worst that any of the backups has cost, by their own reports.
fn costs(points: &[PointView]) -> Vec<Measurement> {
    let worst_ms = |which: fn(&PointView) -> Option<u64>| {
        points.iter().filter_map(which).max().map(|microseconds| microseconds as f64 / 1000.0)
    };
    let count = points.len();
    let pause = worst_ms(|point| point.cost.pause_us);
    let freeze = worst_ms(|point| point.cost.freeze_us);
    let pause =
        pause.map(|pause| Measurement::new(format!("pause, longest of {count}"), pause, "ms").at_most(10.0));
    let freeze = freeze
        .map(|freeze| Measurement::new(format!("freeze, longest of {count}"), freeze, "ms").at_most(1000.0));
    pause.into_iter().chain(freeze).collect()
}
