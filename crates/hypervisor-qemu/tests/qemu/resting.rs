//! Disks that no VM runs from become whole.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use hypervisor::{ErrorKind, Result};
use hypervisor_qemu::RestingDisks;
use image_formats::{NbdBacking, create_overlay};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::machine::{config, qemu_img};

const SIZE_BYTES: u64 = 16 << 20;

/// So slow that it does not end while a test looks.
const SLOW_BYTES_PER_SECOND: u64 = 1 << 20;

/// An overlay over an image that a server shows, and who makes it whole.
struct Rested {
    dir: TempDir,
    server: Child,
    disks: Arc<RestingDisks>,
}

impl Drop for Rested {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        if let Some(process) = self.daemon() {
            kill_process(process, Signal::KILL).unwrap();
        }
    }
}

impl Rested {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = vec![0; SIZE_BYTES as usize];
        env::Entropy::fill(&env::SeededEntropy::new(5), &mut bytes[..SIZE_BYTES as usize * 3 / 4]);
        fs::write(dir.path().join("base.raw"), bytes).unwrap();
        let socket = dir.path().join("images.sock");
        let mut command = Command::new("qemu-nbd");
        command.args(["-r", "-t", "-f", "raw", "-x", "base", "--shared=8", "-k"]).arg(&socket);
        let server = command.arg(dir.path().join("base.raw")).stdout(Stdio::null()).spawn().unwrap();
        while !socket.exists() {
            std::thread::yield_now();
        }
        create_overlay(&dir.path().join("disk.qcow2"), SIZE_BYTES, base(&socket)).await.unwrap();
        let disks = Arc::new(RestingDisks::new(config(dir.path())));
        Self { dir, server, disks }
    }

    fn disk(&self) -> PathBuf {
        self.dir.path().join("disk.qcow2")
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("images.sock")
    }

    async fn hydrate(&self) -> Result<()> {
        self.disks.hydrate(&self.disk(), base(&self.socket()), None, &nothing).await
    }

    /// Begins to hydrate, and returns once something is copied.
    async fn begin(&self) -> tokio::task::JoinHandle<Result<()>> {
        let copied = Arc::new(Notify::new());
        let (disks, disk, told) = (Arc::clone(&self.disks), self.disk(), Arc::clone(&copied));
        let socket = self.socket();
        let hydration = tokio::spawn(async move {
            let listener = move |done_bytes, _| {
                if done_bytes > 0 {
                    told.notify_one();
                }
            };
            disks.hydrate(&disk, base(&socket), Some(SLOW_BYTES_PER_SECOND), &listener).await
        });
        copied.notified().await;
        hydration
    }

    /// The process that has the disk.
    fn daemon(&self) -> Option<Pid> {
        let disk = self.disk().canonicalize().ok()?;
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let number: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let mut files = fs::read_dir(format!("/proc/{number}/fd")).ok()?;
            let has_it = files
                .any(|file| file.is_ok_and(|file| fs::read_link(file.path()).is_ok_and(|it| it == disk)));
            has_it.then(|| Pid::from_raw(number)).flatten()
        });
        processes.into_iter().next()
    }

    fn check_sound(&self) {
        let (disk, base) = (self.disk(), self.dir.path().join("base.raw"));
        let (disk, base) = (disk.to_str().unwrap(), base.to_str().unwrap());
        qemu_img(&["compare", "-q", "-f", "qcow2", "-F", "raw", disk, base]);
        let checked = Command::new("qemu-img").args(["check", "-q", "-f", "qcow2", disk]).status().unwrap();
        // 3: clusters that are leaked take room and do no harm.
        assert!(matches!(checked.code(), Some(0 | 3)), "{checked:?}");
    }

    fn needs_another(&self) -> bool {
        qemu_img(&["info", self.disk().to_str().unwrap()]).contains("backing file:")
    }
}

fn base(socket: &Path) -> NbdBacking<'_> {
    NbdBacking { socket, export: "base", wait_limit: Duration::from_secs(3600) }
}

fn nothing(_: u64, _: u64) {}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_kills_it_leaves_a_sound_disk() {
    let rested = Rested::new().await;
    for _ in 0..3 {
        let hydration = rested.begin().await;
        kill_process(rested.daemon().unwrap(), Signal::KILL).unwrap();
        let error = hydration.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Gone, "{error}");
        rested.check_sound();
        assert!(rested.needs_another());
    }
    rested.hydrate().await.unwrap();
    assert!(!rested.needs_another() && rested.daemon().is_none());
    rested.check_sound();
    rested.hydrate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_says_it_is_whole_and_was_never_seen_so_is_not_believed() {
    let rested = Rested::new().await;
    // As a QEMU leaves it that dies when it has noted the end, and not yet where the data are.
    qemu_img(&["rebase", "-u", "-f", "qcow2", "-b", "", rested.disk().to_str().unwrap()]);
    assert!(!rested.needs_another());
    rested.hydrate().await.unwrap();
    assert!(!rested.needs_another());
    rested.check_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_a_disk_has_it_for_himself() {
    let rested = Rested::new().await;
    let hydration = rested.begin().await;
    let taken = rested.disks.take(&[rested.disk()]).await.unwrap();
    assert!(rested.daemon().is_none());
    assert_eq!(hydration.await.unwrap().unwrap_err().kind(), ErrorKind::Busy);
    let error = rested.hydrate().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    drop(taken);
    rested.hydrate().await.unwrap();
    assert!(!rested.needs_another());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_goes_on_or_ends_what_one_has_begun() {
    let rested = Rested::new().await;
    rested.begin().await.abort();
    let daemon = rested.daemon().unwrap();
    // The monitor is free once the first server has let go of it.
    let other = RestingDisks::new(config(rested.dir.path()));
    drop(other.take(&[rested.disk()]).await.unwrap());
    assert!(rested.daemon().is_none_or(|process| process != daemon));
    rested.check_sound();
    other.hydrate(&rested.disk(), base(&rested.socket()), None, &nothing).await.unwrap();
    assert!(!rested.needs_another());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_out_of_reach_keeps_nobody_waiting() {
    let mut rested = Rested::new().await;
    let hydration = rested.begin().await;
    rested.server.kill().unwrap();
    let _taken = rested.disks.take(&[rested.disk()]).await.unwrap();
    assert!(rested.daemon().is_none());
    assert_eq!(hydration.await.unwrap().unwrap_err().kind(), ErrorKind::Busy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_another_program_has_is_busy() {
    let rested = Rested::new().await;
    let path: &Path = &rested.disk();
    let mut command = Command::new("qemu-io");
    let mut user =
        command.args(["-f", "qcow2"]).arg(path).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    while !image_formats::is_open_elsewhere(path).await.unwrap() {}
    let error = rested.hydrate().await.unwrap_err();
    user.kill().unwrap();
    user.wait().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
}
