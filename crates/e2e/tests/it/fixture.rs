//! What most tests begin with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use api::{ChangeSourceView, JobView, PointView, RestoredDiskView, VaultView, VmView};
use model::{ByteCount, DiskFormat};
use serde_json::Value;
use testkit::{
    guest::{GuestDisks, GuestImage},
    offline::{OfflineState, examine},
    qemu::{BlankVm, GuestVm},
    site::Site,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// The words of a command line, of text and paths.
macro_rules! words {
    ($($word:expr),+ $(,)?) => { [$(std::ffi::OsString::from(AsRef::<std::ffi::OsStr>::as_ref(&$word))),+] };
}
pub(crate) use words;

/// The size of a guest's data disk.
pub const DATA_SIZE: ByteCount = ByteCount(128 << 20);

/// A site with the vault `main` in its data directory.
pub async fn site_with_vault() -> Result<Site> {
    let site = Site::start().await?;
    let _: VaultView = site.json(["vault", "create", "main"]).await?;
    Ok(site)
}

/// All files below a directory, in order.
pub fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(files_below(&path)?) } else { files.push(path) }
    }
    files.sort();
    Ok(files)
}

/// New disks for a guest, in the site's directory.
pub fn guest_disks(site: &Site, image: &GuestImage) -> Result<GuestDisks> {
    image.create_disks(site.directory(), DiskFormat::Qcow2, DATA_SIZE)
}

/// Makes a running guest known under a name, with its agent, and protects it.
pub async fn protect_guest(site: &Site, vm: &GuestVm, name: &str) -> Result<VmView> {
    let (qmp, out_of_band, agent) = (vm.qmp_socket(), vm.qmp_out_of_band_socket(), vm.agent_socket());
    site.run(words!["vm", "add", name, "--qmp", qmp, "--qmp-out-of-band", out_of_band, "--agent", agent])
        .await?;
    site.json(["protect", name, "--vault", "main"]).await
}

/// Makes a running VM without a guest known under a name, and protects it. There is nothing to freeze in it.
pub async fn protect_blank(site: &Site, vm: &BlankVm, name: &str) -> Result<VmView> {
    let (qmp, out_of_band) = (vm.qmp_socket(), vm.qmp_out_of_band_socket());
    site.run(words!["vm", "add", name, "--qmp", qmp, "--qmp-out-of-band", out_of_band]).await?;
    site.json(["protect", name, "--vault", "main", "--consistency", "crash"]).await
}

/// Backs a VM up.
pub async fn back_up(site: &Site, vm: &str) -> Result<PointView> {
    site.json(["backup", vm]).await
}

/// The points of a VM, oldest first.
pub async fn points(site: &Site, vm: &str) -> Result<Vec<PointView>> {
    site.json(["point", "list", "--vm", vm]).await
}

/// The reason for which each disk of a point was compared; none for a disk that was not.
pub fn reasons(point: &PointView) -> Vec<Option<&str>> {
    point
        .disks
        .iter()
        .map(|disk| match &disk.source {
            ChangeSourceView::Compared { reason } => Some(reason.as_str()),
            _ => None,
        })
        .collect()
}

/// Whether each disk of a point was read by its dirty bitmap.
pub fn by_bitmap(point: &PointView) -> Vec<bool> {
    point.disks.iter().map(|disk| disk.source == ChangeSourceView::Bitmap).collect()
}

/// Asks for a backup and does not wait for it.
pub async fn backup_job(site: &Site, vm: &str) -> Result<JobView> {
    site.json(["backup", vm, "--no-wait"]).await
}

/// Starts a backup and returns once it has begun to read a disk.
pub async fn backup_in_the_middle(site: &Site, vm: &str) -> Result<JobView> {
    let job = backup_job(site, vm).await?;
    let reads = |progress: &Value| {
        progress["phase"].as_str().is_some_and(|phase| phase.starts_with("reading "))
            && progress["done_bytes"].as_u64() > Some(0)
    };
    job_until(site, &job, reads).await?;
    Ok(job)
}

/// Follows a job until its progress is as wanted.
pub async fn job_until(site: &Site, job: &JobView, wanted: impl Fn(&Value) -> bool) -> Result<()> {
    let mut watch = site.command(["job", "watch", job.id.as_str(), "--output", "jsonl"])?;
    let mut watch = watch.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(watch.stderr.take().context("the progress has no stream")?).lines();
    while let Some(line) = lines.next_line().await? {
        if serde_json::from_str(&line).is_ok_and(|progress| wanted(&progress)) {
            return Ok(());
        }
    }
    bail!("the job {} ended before it was as wanted", job.id)
}

/// Waits until a job that cannot succeed has ended; returns its view, and the exit code and message of the command that
/// waited.
pub async fn failed_job(site: &Site, job: &JobView) -> Result<(JobView, i32, String)> {
    let (code, message) = site.failure(["job", "watch", job.id.as_str()]).await?;
    Ok((site.json(["job", "show", job.id.as_str()]).await?, code, message))
}

/// Restores one disk to a file.
pub async fn restore_disk(site: &Site, reference: &str, format: DiskFormat, path: &Path) -> Result<()> {
    let _: RestoredDiskView =
        site.json(words!["restore", "disk", reference, "--format", format.as_str(), "--to", path]).await?;
    Ok(())
}

/// The bytes of a disk of a point, such as `point:vm/latest/disk`.
pub async fn restored_bytes(site: &Site, reference: &str) -> Result<Vec<u8>> {
    let directory = tempfile::tempdir_in(site.directory())?;
    let path = directory.path().join("restored.img");
    restore_disk(site, reference, DiskFormat::Raw, &path).await?;
    fs::read(&path).context("reading the restored disk")
}

/// Restores both disks of a guest and examines them. The reference is that of the point.
pub async fn examine_point(site: &Site, point: &str, format: DiskFormat) -> Result<OfflineState> {
    let directory = tempfile::tempdir_in(site.directory())?;
    let disks =
        GuestDisks { root: directory.path().join("root"), data: directory.path().join("data"), format };
    restore_disk(site, &format!("{point}/root"), format, &disks.root).await?;
    restore_disk(site, &format!("{point}/data"), format, &disks.data).await?;
    examine(&disks)
}

/// Bytes that look random and do not compress, the same for the same seed.
pub fn noise(seed: u64, length_bytes: usize) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let mut bytes = Vec::with_capacity(length_bytes + 8);
    while bytes.len() < length_bytes {
        bytes.extend(numbers.next().to_le_bytes());
    }
    bytes.truncate(length_bytes);
    bytes
}

/// Fails unless two disks are the same, and says where they are not.
pub fn assert_same(found: &[u8], expected: &[u8]) {
    assert_eq!(found.len(), expected.len(), "the disks differ in size");
    if let Some(place) = found.iter().zip(expected).position(|(found, expected)| found != expected) {
        panic!("the disks differ, first at byte {place}");
    }
}

/// Pseudo-random numbers (SplitMix64).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
