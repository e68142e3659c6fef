//! VMs that run from a recovery point at once, beside the same VM from its own disks.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use api::VmView;
use model::{ByteCount, DiskFormat};
use serde_json::Value;
use testkit::{
    guest::{GuestDisks, GuestImage},
    site::Site,
};
use tokio::time::{interval, timeout};

use super::{GIB, Scale, VAULT, back_up, progress, shown};
use crate::bench::{report::Measurement, sample::median};

const BOOTED: &str = "booted";
const PEER: &str = "vm start, own disk";

/// What a server logs when a guest has read the first bytes of its image.
const FIRST_BYTE: &str = "a VM has begun to read its image";

/// What the guest's kernel writes first to its serial port.
const KERNEL: &[u8] = b"Linux version";

/// How often is looked whether something has happened.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How long a guest may take on a busy machine without hardware virtualisation.
const PATIENCE: Duration = Duration::from_secs(120);

/// The times of some boots, in seconds from the command on.
#[derive(Default)]
struct Boots {
    first_byte: Vec<f64>,
    peer_first_byte: Vec<f64>,
    first_read: Vec<f64>,
    kernel: Vec<f64>,
    own_disk: Vec<f64>,
}

/// Boots a VM of each size.
pub async fn measure(binary: &Path, scale: &Scale, work: &Path) -> Result<Vec<Measurement>> {
    let image = GuestImage::obtain()?;
    let site = Site::start_with(binary).await?;
    site.json::<Value>(["vault", "create", VAULT]).await?;
    let mut measurements = Vec::new();
    for (name, size) in [("1 GiB", ByteCount(GIB)), ("1 TiB", ByteCount(1024 * GIB))] {
        progress(&format!("booting a VM with a disk of {name}"));
        let vm = format!("size-{}", size.0 / GIB);
        let directory = work.join(&vm);
        fs::create_dir(&directory)?;
        let disks = image.create_disks(&directory, DiskFormat::Raw, ByteCount(16 << 20))?;
        make_talkative(&disks.root)?;
        OpenOptions::new().write(true).open(&disks.root)?.set_len(size.0)?;
        let boots = boots(&site, &vm, &disks, scale.boots, work).await?;
        let millis = |seconds| median(seconds) * 1000.0;
        let metric = format!("nbd of a point, first byte, {name}");
        let first_byte = Measurement::new(metric, millis(boots.first_byte), "ms");
        measurements.push(first_byte.beside(shown::PEER, millis(boots.peer_first_byte)).at_most(50.0));
        let metric = format!("boot, QEMU reads first byte, {name}");
        measurements.push(Measurement::new(metric, millis(boots.first_read), "ms"));
        let metric = format!("boot, guest kernel starts, {name}");
        let kernel = Measurement::new(metric, median(boots.kernel), "s");
        measurements.push(kernel.beside(PEER, median(boots.own_disk)).at_most(2.0));
    }
    Ok(measurements)
}

async fn boots(site: &Site, vm: &str, disks: &GuestDisks, count: usize, work: &Path) -> Result<Boots> {
    let known = site.add_vm(&disks.definition(vm.parse()?)).await?;
    back_up(site, vm).await?;
    let reference = format!("point:{vm}/latest");
    let mut boots = Boots::default();
    for _ in 0..count {
        let (first_byte, peer) = shown::first_bytes(site, &reference, &disks.root, work).await?;
        boots.first_byte.push(first_byte);
        boots.peer_first_byte.push(peer);
        let begun_at = Instant::now();
        let from = site.server_log().len();
        let mut command = site.command(["boot", &reference, "--name", BOOTED, "--no-hydrate", "--quiet"])?;
        let command = command.stdout(Stdio::null()).spawn()?;
        let first_read =
            happens(|| site.server_log().get(from..).is_some_and(|log| log.contains(FIRST_BYTE)));
        boots.first_read.push(first_read.await?.duration_since(begun_at).as_secs_f64());
        let ended = command.wait_with_output().await?;
        ensure!(ended.status.success(), "holdfast boot ended with {}", ended.status);
        let booted: VmView = site.json(["vm", "show", BOOTED]).await?;
        let kernel = happens(|| has_started(site, &booted));
        boots.kernel.push(kernel.await?.duration_since(begun_at).as_secs_f64());
        site.json::<Value>(["vm", "stop", BOOTED, "--force"]).await?;
        site.run(["--yes", "vm", "remove", BOOTED]).await?;

        let _ = fs::remove_file(serial_log(site, &known)); // there is none before the first start
        let begun_at = Instant::now();
        let command = site.command(["vm", "start", vm])?.output();
        let (started, output) = tokio::join!(happens(|| has_started(site, &known)), command);
        ensure!(output?.status.success(), "holdfast vm start failed");
        boots.own_disk.push(started?.duration_since(begun_at).as_secs_f64());
        site.json::<Value>(["vm", "stop", vm, "--force"]).await?;
    }
    Ok(boots)
}

/// Makes the kernel tell what it does from the beginning: its command line says the opposite with as many letters.
fn make_talkative(disk: &Path) -> Result<()> {
    let (quiet, debug) = (b"console=ttyS0 quiet ", b"console=ttyS0 debug ");
    let bytes = fs::read(disk)?;
    let places: Vec<_> = bytes
        .windows(quiet.len())
        .enumerate()
        .filter(|(_, window)| window == quiet)
        .map(|(at, _)| at)
        .collect();
    ensure!(!places.is_empty(), "the guest's boot loader has no quiet kernel");
    let file = OpenOptions::new().write(true).open(disk)?;
    for place in places {
        file.write_all_at(debug, place as u64)?;
    }
    Ok(())
}

fn serial_log(site: &Site, vm: &VmView) -> PathBuf {
    site.data_directory().join("run").join(vm.id.as_str()).join("serial.log")
}

fn has_started(site: &Site, vm: &VmView) -> bool {
    let log = fs::read(serial_log(site, vm)).unwrap_or_default();
    log.windows(KERNEL.len()).any(|window| window == KERNEL)
}

/// When something has happened.
async fn happens(mut has_happened: impl FnMut() -> bool) -> Result<Instant> {
    let mut looks = interval(LOOK_EVERY);
    let looking = async {
        while !has_happened() {
            looks.tick().await;
        }
        Instant::now()
    };
    timeout(PATIENCE, looking).await.context("the VM does not boot")
}
