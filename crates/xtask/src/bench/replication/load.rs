//! Loads: writes at random places, to a disk of a QEMU without a guest, and within a guest.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use model::{ByteCount, DiskFormat};
use serde_json::json;
use testkit::{
    agent::GuestAgent,
    qemu::{BlankDisk, BlankVm, VirtioDisk},
    site::Site,
};
use tokio::task;

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

/// A VM without a guest, whose disk is written to through its device as fast as the host can.
pub struct Writable {
    vm: BlankVm,
    driver: Arc<Mutex<VirtioDisk>>,
}

impl Writable {
    /// Starts it and makes it known to a site.
    pub async fn start(site: &Site) -> Result<Self> {
        let disk = BlankDisk::new(DISK, DiskFormat::Qcow2, vec![0; 1 << 20]).grown_to(ByteCount(GIB));
        let (vm, driver) = BlankVm::start_driven(disk).await?;
        let (qmp, second) = (vm.qmp_socket(), vm.qmp_out_of_band_socket());
        let (qmp, second) = (qmp.display().to_string(), second.display().to_string());
        site.run(["vm", "add", VM, "--qmp", &qmp, "--qmp-out-of-band", &second]).await?;
        Ok(Self { vm, driver: Arc::new(Mutex::new(driver)) })
    }

    /// Writes 4 KiB at random places.
    pub async fn load(&self, depth: u32, window: Duration) -> Result<Load> {
        self.run(Writes {
            write_bytes: 4096,
            order: Order::Random,
            depth,
            pace: None,
            end: End::After(window),
        })
        .await
    }

    /// The same at a rate that every link can carry, in bytes a second.
    pub async fn load_at(&self, bytes_per_second: u64, window: Duration) -> Result<Load> {
        let pace = Some(bytes_per_second);
        self.run(Writes { write_bytes: 4096, order: Order::Random, depth: 4, pace, end: End::After(window) })
            .await
    }

    /// Writes so much in order.
    pub async fn write(&self, size: ByteCount) -> Result<Load> {
        let (write_bytes, order, end) = (64 << 10, Order::Sequential, End::Written(size));
        self.run(Writes { write_bytes, order, depth: 4, pace: None, end }).await
    }

    async fn run(&self, writes: Writes) -> Result<Load> {
        let driver = self.driver.clone();
        task::spawn_blocking(move || {
            let mut driver = driver.lock().map_err(|_| anyhow!("the driver has panicked"))?;
            writes.run(&mut driver)
        })
        .await?
    }

    /// The process of QEMU is alive.
    pub async fn check(&self) -> Result<()> {
        self.vm.qmp("query-status", json!({})).await.map(drop)
    }
}

/// What is written to a disk without a guest.
struct Writes {
    write_bytes: usize,
    order: Order,
    depth: u32,
    /// In bytes a second; else as fast as it goes.
    pace: Option<u64>,
    end: End,
}

enum Order {
    Random,
    Sequential,
}

enum End {
    After(Duration),
    Written(ByteCount),
}

impl Writes {
    fn run(&self, disk: &mut VirtioDisk) -> Result<Load> {
        let noise = Noise::new();
        let (begun, mut state, mut submitted_bytes, mut took) = (Instant::now(), 1, 0, Vec::new());
        loop {
            let elapsed = begun.elapsed();
            let is_over = match self.end {
                End::After(window) => elapsed >= window,
                End::Written(size) => submitted_bytes >= size.0,
            };
            let allowed = self.pace.map_or(u64::MAX, |pace| (pace as f64 * elapsed.as_secs_f64()) as u64);
            let before = submitted_bytes;
            while !is_over && disk.under_way() < self.depth && submitted_bytes < allowed {
                let random = next_random(&mut state);
                let place = match self.order {
                    Order::Random => random % (GIB / self.write_bytes as u64) * self.write_bytes as u64,
                    Order::Sequential => submitted_bytes % GIB,
                };
                disk.submit(place, noise.slice(random, self.write_bytes))?;
                submitted_bytes += self.write_bytes as u64;
            }
            if submitted_bytes > before {
                disk.notify()?;
            }
            if disk.under_way() > 0 {
                took.extend(disk.wait()?);
            } else if is_over {
                break;
            } else {
                thread::sleep(PACE_INTERVAL);
            }
        }
        Load::of(took, begun.elapsed(), submitted_bytes)
    }
}

impl Load {
    fn of(mut took: Vec<Duration>, window: Duration, written_bytes: u64) -> Result<Self> {
        took.sort_unstable();
        let microseconds = |duration: Duration| duration.as_secs_f64() * 1e6;
        let p99 = took.get(took.len() * 99 / 100).copied().context("nothing was written")?;
        let count = took.len() as f64;
        Ok(Self {
            writes_per_second: count / window.as_secs_f64(),
            mean_us: took.into_iter().map(microseconds).sum::<f64>() / count,
            p99_us: microseconds(p99),
            written_bytes: written_bytes as f64,
        })
    }
}

/// How often is looked whether the pace allows more.
const PACE_INTERVAL: Duration = Duration::from_millis(1);

/// Content that halves when it is compressed: every second half of 4 KiB is zeros.
struct Noise(Vec<u8>);

impl Noise {
    fn new() -> Self {
        let (mut state, mut noise) = (7, vec![0; 16 << 20]);
        for page in noise.chunks_mut(4096) {
            for word in page[..2048].chunks_exact_mut(8) {
                word.copy_from_slice(&next_random(&mut state).to_le_bytes());
            }
        }
        Self(noise)
    }

    fn slice(&self, random: u64, size_bytes: usize) -> &[u8] {
        let pages = ((self.0.len() - size_bytes) / 4096) as u64;
        let start = (random >> 32) % pages * 4096;
        &self.0[start as usize..][..size_bytes]
    }
}

/// Xorshift by Marsaglia: fast, and the same in each run.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Writers in a guest: each writes 4 KiB at random places of a disk, durably, one after the other.
const SCRIPT: &str = r#"
use strict; use warnings; use Fcntl;
# clock_gettime of x86-64, of CLOCK_MONOTONIC: the guest has no Time::HiRes.
sub now { syscall 228, 1, my $now = "\0" x 16; my ($s, $ns) = unpack "qq", $now; $s + $ns / 1e9 }
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
    my $end = now() + $seconds;
    while (now() < $end) {
        sysseek $disk, 4096 * int rand 131072, 0 or die $!;
        my $begun = now();
        syswrite($disk, substr $noise, 4 * int rand 15000, 4096) == 4096 or die $!;
        push @took, int((now() - $begun) * 1e6);
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
