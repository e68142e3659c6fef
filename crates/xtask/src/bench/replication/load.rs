//! Loads: writes at random places, to a disk of a QEMU without a guest, and within a guest.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use model::{ByteCount, DiskFormat};
use serde_json::{Value, json};
use testkit::{
    agent::GuestAgent,
    qemu::{BlankDisk, BlankVm},
    site::Site,
};
use tokio::process::Command;

use super::GIB;

/// What the VM and its disk are called.
pub const VM: &str = "bench";
pub const DISK: &str = "vda";

/// What a load saw.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub writes_per_second: f64,
    pub mean_us: f64,
    pub p99_us: f64,
    pub written_bytes: f64,
}

/// A QEMU without a guest, whose disk is a file of this host: who writes to that writes as a guest would, through the same
/// block layer.
pub struct Writable {
    vm: BlankVm,
    file: PathBuf,
    _directory: tempfile::TempDir,
}

impl Writable {
    /// Starts it and makes it known to a site.
    pub async fn start(site: &Site) -> Result<Self> {
        let disk = BlankDisk::new(DISK, DiskFormat::Qcow2, vec![0; 1 << 20]).grown_to(ByteCount(GIB));
        let vm = BlankVm::start(&[disk]).await?;
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("disk");
        fs::write(&file, "")?;
        let export = json!({
            "type": "fuse", "id": "bench", "node-name": format!("{DISK}-format"),
            "mountpoint": file.to_str().context("the path is not UTF-8")?, "writable": true,
        });
        vm.qmp("block-export-add", export).await.context("showing the disk as a file")?;
        let (qmp, second) = (vm.qmp_socket(), vm.qmp_out_of_band_socket());
        let (qmp, second) = (qmp.display().to_string(), second.display().to_string());
        site.run(["vm", "add", VM, "--qmp", &qmp, "--qmp-out-of-band", &second]).await?;
        Ok(Self { vm, file, _directory: directory })
    }

    /// Writes 4 KiB at random places, of data that halves when it is compressed.
    pub async fn load(&self, depth: u32, window: Duration) -> Result<Load> {
        self.fio(&[
            "--rw=randwrite",
            "--bs=4k",
            "--time_based",
            &format!("--iodepth={depth}"),
            &format!("--runtime={}ms", window.as_millis()),
        ])
        .await
    }

    /// The same at a rate that every link can carry, in bytes a second.
    pub async fn load_at(&self, bytes_per_second: u64, window: Duration) -> Result<Load> {
        let (rate, runtime) = (format!("--rate={bytes_per_second}"), window.as_millis());
        let runtime = format!("--runtime={runtime}ms");
        self.fio(&["--rw=randwrite", "--bs=4k", "--time_based", "--iodepth=4", &rate, &runtime]).await
    }

    /// Writes so much in order.
    pub async fn write(&self, size: ByteCount) -> Result<Load> {
        self.fio(&["--rw=write", "--bs=64k", "--iodepth=4", &format!("--io_size={}", size.0)]).await
    }

    async fn fio(&self, options: &[&str]) -> Result<Load> {
        let mut command = Command::new("fio");
        command
            .args(["--name=load", "--ioengine=libaio", "--direct=1", "--output-format=json"])
            .args(["--buffer_compress_percentage=50", "--refill_buffers"])
            .arg(format!("--size={GIB}"))
            .arg(format!("--filename={}", self.file.display()))
            .args(options);
        let output = command.kill_on_drop(true).output().await.context("running fio")?;
        ensure!(output.status.success(), "fio: {}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).context("what fio told")?;
        let writes = &told["jobs"][0]["write"];
        let number = |value: &Value| value.as_f64().context("fio has told less than it should");
        Ok(Load {
            writes_per_second: number(&writes["iops"])?,
            mean_us: number(&writes["clat_ns"]["mean"])? / 1000.0,
            p99_us: number(&writes["clat_ns"]["percentile"]["99.000000"])? / 1000.0,
            written_bytes: number(&writes["io_bytes"])?,
        })
    }

    /// The process of QEMU is alive.
    pub async fn check(&self) -> Result<()> {
        self.vm.qmp("query-status", json!({})).await.map(drop)
    }
}

/// Writers in a guest: each writes 4 KiB at random places of a disk, durably, one after the other.
const SCRIPT: &str = r#"
use strict; use warnings; use Fcntl; use Time::HiRes qw(time);
my ($serial, $depth, $seconds) = @ARGV;
my $name;
for my $path (glob "/sys/block/*/serial") {
    open my $file, "<", $path or next;
    $name = (split "/", $path)[3] if (readline($file) // "") =~ /^\Q$serial\E\s*$/;
}
open my $random, "<:raw", "/dev/urandom" or die $!;
read $random, my $noise, 1 << 16;
my @pipes;
for my $writer (1 .. $depth) {
    pipe my $read, my $write or die $!;
    my $child = fork // die $!;
    if ($child) { close $write; push @pipes, $read; next }
    srand $writer;
    sysopen my $disk, "/dev/$name", O_WRONLY | O_DSYNC or die "/dev/$name: $!";
    my @took;
    my $end = time + $seconds;
    while (time < $end) {
        sysseek $disk, 4096 * int rand 131072, 0 or die $!;
        my $begun = time;
        syswrite($disk, substr $noise, 4 * int rand 15000, 4096) == 4096 or die $!;
        push @took, int((time - $begun) * 1e6);
    }
    print $write join(" ", @took), "\n";
    close $write;
    exit 0;
}
my @all = sort { $a <=> $b } map { split " ", readline $_ } @pipes;
my $sum = 0;
$sum += $_ for @all;
print join(" ", scalar @all, $sum, $all[int(@all * 0.99)]), "\n";
"#;

/// The longest that a program in the guest may take.
const GUEST_WINDOW_MAX: Duration = Duration::from_secs(60);

/// Durable writes in a guest, of so many writers, to the disk with this serial number.
pub async fn in_guest(guest: &GuestAgent, serial: &str, depth: u32, window: Duration) -> Result<Load> {
    let seconds = window.min(GUEST_WINDOW_MAX).as_secs_f64();
    let (depth, window) = (depth.to_string(), seconds.to_string());
    let told = guest.exec(&["/usr/bin/perl", "-e", SCRIPT, serial, &depth, &window]).await?;
    let numbers: Vec<f64> = told.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [count, sum_us, p99_us] = numbers[..] else { anyhow::bail!("the guest told {told:?}") };
    Ok(Load {
        writes_per_second: count / seconds,
        mean_us: sum_us / count,
        p99_us,
        written_bytes: count * 4096.0,
    })
}
