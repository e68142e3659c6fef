//! Full backups and restores of a written disk, beside `qemu-img convert` of the same disk.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use model::{ByteCount, Consistency, DiskBus, DiskDefinition, DiskFormat, Firmware, VmDefinition};
use serde_json::Value;
use testkit::{command, site::Site};
use tokio::process::Command;

use super::{
    Scale,
    protected::{ProtectedVm, VM},
    to_qcow2,
};
use crate::bench::{
    process::{self, Process},
    progress,
    report::Measurement,
    sample::{Sample, Samples},
};

const DISK: &str = "written";
const COMPRESSED: &str = "qemu-img convert, zstd";
const PLAIN: &str = "qemu-img convert";

/// The two processes that do our work.
struct Processes {
    server: Process,
    vm: Process,
}

/// What the rounds gave.
#[derive(Default)]
struct Rounds {
    full: Samples,
    full_compressed: Samples,
    full_plain: Samples,
    restore: Samples,
    restore_peer: Samples,
}

struct Bench<'a> {
    site: &'a Site,
    vm: ProtectedVm<'a>,
    processes: Processes,
    disk: PathBuf,
    work: &'a Path,
}

/// Measures with a VM that has this disk and no guest, so that nothing else uses the processors.
pub async fn measure(
    binary: &Path,
    scale: &Scale,
    raw: &Path,
    written: ByteCount,
    work: &Path,
) -> Result<Vec<Measurement>> {
    let disk = work.join("written.qcow2");
    to_qcow2(raw, &disk, scale.disk)?;
    let site = Site::start_with(binary).await?;
    let processes = start_vm(&site, &disk).await?;
    let memory_before = processes.server.memory_mib()?;
    let vm = ProtectedVm::new(&site, Consistency::Crash, work);
    let mut bench = Bench { site: &site, vm, processes, disk, work };
    let mut rounds = Rounds::default();
    for round in 0..scale.rounds {
        progress(&format!("full backup and restore, round {} of {}", round + 1, scale.rounds));
        bench.round(round, &mut rounds).await?;
    }
    Ok(rounds.measurements(written, memory_before))
}

/// Starts a VM whose only disk is this one.
async fn start_vm(site: &Site, disk: &Path) -> Result<Processes> {
    let definition = VmDefinition {
        name: VM.parse()?,
        uuid: None,
        cpus: 1,
        memory: ByteCount(128 << 20),
        machine: "q35".to_owned(),
        firmware: Firmware::Bios,
        disks: vec![DiskDefinition {
            name: DISK.parse()?,
            path: Some(disk.to_owned()),
            format: Some(DiskFormat::Qcow2),
            bus: DiskBus::Virtio,
            serial: None,
            iothread: false,
        }],
        networks: Vec::new(),
        agent: false,
    };
    let vm = site.add_vm(&definition).await?;
    site.json::<Value>(["vm", "start", VM]).await?;
    let pid_file = site.data_directory().join("run").join(vm.id.as_str()).join("qemu.pid");
    let vm = fs::read_to_string(&pid_file).with_context(|| format!("reading {}", pid_file.display()))?;
    let server = site.server_process_id().context("the server does not run")?;
    Ok(Processes { server: Process::new(server), vm: Process::new(vm.trim().parse()?) })
}

impl Bench<'_> {
    /// Everything once. Who goes first changes, so that nobody always finds the disk at rest.
    async fn round(&mut self, round: usize, rounds: &mut Rounds) -> Result<()> {
        let (compressed, plain) = (self.work.join("compressed.qcow2"), self.work.join("plain.qcow2"));
        for turn in 0..3 {
            settle()?;
            match (round + turn) % 3 {
                0 => self.back_up(rounds).await?,
                1 => rounds.full_compressed.push(self.convert_compressed(&compressed).await?),
                _ => rounds.full_plain.push(self.convert_plain(&plain).await?),
            }
        }
        let (restored, restored_by_peer) = (self.work.join("restored.raw"), self.work.join("peer.raw"));
        for turn in 0..2 {
            settle()?;
            match (round + turn) % 2 {
                0 => self.restore(&restored, rounds).await?,
                _ => rounds.restore_peer.push(restore_by_peer(&compressed, &restored_by_peer).await?),
            }
        }
        command::run(std::process::Command::new("cmp").args([&restored, &restored_by_peer]))
            .context("the restored disk is not the one that was backed up")?;
        for path in [&compressed, &plain, &restored, &restored_by_peer] {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    async fn back_up(&mut self, rounds: &mut Rounds) -> Result<()> {
        self.vm.change_vault().await?;
        rounds.full.push(self.processes.measure(self.vm.back_up()).await?);
        Ok(())
    }

    async fn restore(&self, target: &Path, rounds: &mut Rounds) -> Result<()> {
        let reference = format!("point:{VM}/latest/{DISK}");
        let target = target.display().to_string();
        let restore = self.site.json::<Value>(["restore", "disk", &reference, "--to", &target]);
        rounds.restore.push(self.processes.measure(restore).await?);
        Ok(())
    }

    async fn convert_compressed(&self, target: &Path) -> Result<Sample> {
        process::measure(&mut compressed_conversion(&self.disk, target)).await
    }

    async fn convert_plain(&self, target: &Path) -> Result<Sample> {
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-U", "-f", "qcow2", "-O", "qcow2"]).arg(&self.disk).arg(target);
        process::measure(&mut command).await
    }
}

impl Processes {
    /// What some work of theirs costs; the memory is the server's.
    async fn measure<T>(&self, work: impl Future<Output = Result<T>>) -> Result<Sample> {
        self.server.reset_peak_memory()?;
        let (cpu_before, started) = (self.cpu_seconds()?, Instant::now());
        work.await?;
        Ok(Sample {
            wall: started.elapsed(),
            cpu_seconds: self.cpu_seconds()? - cpu_before,
            peak_memory_mib: self.server.peak_memory_mib()?,
        })
    }

    fn cpu_seconds(&self) -> Result<f64> {
        Ok(self.server.cpu_seconds()? + self.vm.cpu_seconds()?)
    }
}

/// The peer of a full backup: one compressed file of a disk that a VM may be using.
pub fn compressed_conversion(disk: &Path, target: &Path) -> Command {
    let mut command = Command::new("qemu-img");
    command
        .args(["convert", "-U", "-f", "qcow2", "-O", "qcow2", "-c", "-o", "compression_type=zstd"])
        .args(["-W", "-m", "2"])
        .arg(disk)
        .arg(target);
    command
}

async fn restore_by_peer(compressed: &Path, target: &Path) -> Result<Sample> {
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-f", "qcow2", "-O", "raw"]).arg(compressed).arg(target);
    process::measure(&mut command).await
}

/// What one has written must not be written back in the other's time.
fn settle() -> Result<()> {
    command::run(&mut std::process::Command::new("sync")).map(drop)
}

impl Rounds {
    fn measurements(&self, written: ByteCount, memory_before_mib: f64) -> Vec<Measurement> {
        let mib = written.0 as f64 / f64::from(1 << 20);
        let memory = |what: &str, peak_mib: f64| {
            Measurement::new(
                format!("server's memory, growth in {what}"),
                peak_mib - memory_before_mib,
                "MiB",
            )
            .at_most(64.0)
        };
        let rate = |samples: &Samples| mib / samples.wall_seconds();
        vec![
            // The bound of a full backup's pipeline is a fifth of this peer's time; the target leaves half of that over.
            Measurement::new("full backup", self.full.wall_seconds(), "s")
                .beside(COMPRESSED, self.full_compressed.wall_seconds())
                .ratio_at_most(0.33),
            Measurement::new("full backup", self.full.wall_seconds(), "s")
                .beside(PLAIN, self.full_plain.wall_seconds()),
            Measurement::new("full backup, written data", rate(&self.full), "MiB/s")
                .beside(COMPRESSED, rate(&self.full_compressed)),
            Measurement::new("full backup, processor (server and QEMU)", self.full.cpu_seconds(), "s")
                .beside(COMPRESSED, self.full_compressed.cpu_seconds())
                .ratio_at_most(0.5),
            Measurement::new("restore to raw, verified", self.restore.wall_seconds(), "s")
                .beside(PLAIN, self.restore_peer.wall_seconds())
                .ratio_at_most(0.53),
            Measurement::new("restore to raw, processor", self.restore.cpu_seconds(), "s")
                .beside(PLAIN, self.restore_peer.cpu_seconds()),
            memory("full backups", self.full.peak_memory_mib()),
            memory("restores", self.restore.peak_memory_mib()),
        ]
    }
}
