//! VMs that read from an image whose server does not answer, or cannot read it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hypervisor::{Hydration, Hypervisor, Power};
use hypervisor_qemu::QemuHypervisor;
use image::{ByteRange, DiskImage, Error, ErrorKind, Extent, MemoryImage, Result};
use image_formats::{NbdBacking, create_overlay};
use nbd::{Endpoint, Exports, Server};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    machine::{TestMonitor, config, qemu_img},
    managed::Managed,
};

const SIZE_BYTES: u64 = 4 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Sound,
    Silent,
    Broken,
}

/// An image whose reads go as the test wants, and which tells when somebody waits for one.
struct MoodyImage {
    inner: MemoryImage,
    mood: watch::Receiver<Mood>,
    is_awaited: watch::Sender<bool>,
}

impl MoodyImage {
    async fn pass(&self) -> Result<()> {
        let mut mood = self.mood.clone();
        if *mood.borrow() == Mood::Silent {
            self.is_awaited.send_replace(true);
        }
        match mood.wait_for(|mood| *mood != Mood::Silent).await.map(|mood| *mood) {
            Ok(Mood::Sound) => Ok(()),
            _ => Err(Error::new(ErrorKind::Corrupt, "the test wants it broken")),
        }
    }
}

#[async_trait]
impl DiskImage for MoodyImage {
    fn size_bytes(&self) -> u64 {
        SIZE_BYTES
    }

    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.inner.extents(range).await
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<()> {
        self.pass().await?;
        self.inner.read_at(offset_bytes, buffer).await
    }
}

/// A VM whose first disk reads from an image in this mood.
struct Dependent {
    vm: Managed,
    mood: watch::Sender<Mood>,
    is_awaited: watch::Receiver<bool>,
    _serving: JoinHandle<()>,
}

impl Dependent {
    async fn start() -> Self {
        let vm = Managed::new();
        let socket = vm.dir.path().join("images.sock");
        let ((mood, moods), (awaiting, is_awaited)) = (watch::channel(Mood::Sound), watch::channel(false));
        let inner = MemoryImage::new(vec![7; SIZE_BYTES as usize]);
        let exports = Exports::new();
        exports.add("disk", Arc::new(MoodyImage { inner, mood: moods, is_awaited: awaiting }));
        let server = Server::bind(&Endpoint::Unix(socket.clone()), exports).await.unwrap();
        let serving = tokio::spawn(async move { server.run().await });
        let disk = vm.definition.disks[0].path.clone().unwrap();
        std::fs::remove_file(&disk).unwrap();
        let backing = NbdBacking { socket: &socket, export: "disk", wait_limit: Duration::from_secs(3600) };
        create_overlay(&disk, SIZE_BYTES, backing).await.unwrap();
        vm.hypervisor.start(&vm.access()).await.unwrap();
        Self { vm, mood, is_awaited, _serving: serving }
    }

    /// Begins to copy, and leaves it with a read that nobody answers.
    async fn hang(&mut self) {
        let (begins, mut has_begun) = watch::channel(false);
        tokio::select! {
            // So slowly that it is not done before the image is silent. A silent one would keep QEMU from beginning.
            ended = self.hydrate(Some(1 << 20), &begins) => panic!("it has ended: {ended:?}"),
            _ = has_begun.wait_for(|has_begun| *has_begun) => {}
        }
        self.mood.send_replace(Mood::Silent);
        self.is_awaited.wait_for(|is_awaited| *is_awaited).await.unwrap();
    }

    /// Hydrates the disk, and tells once the copying has begun.
    async fn hydrate(&self, rate: Option<u64>, has_begun: &watch::Sender<bool>) -> hypervisor::Result<()> {
        let disk = self.vm.definition.disks[0].name.clone();
        let order = Hydration { disk, rate_limit_bytes_per_second: rate };
        let has_begun = has_begun.clone();
        let tell = move |_, _| {
            has_begun.send_replace(true);
        };
        self.vm.hypervisor.hydrate(&self.vm.access(), &order, &tell).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qemu_that_is_told_to_end_does_not_wait_for_its_image() {
    let mut dependent = Dependent::start().await;
    dependent.hang().await;
    let vm = &dependent.vm;
    vm.hypervisor.stop(&vm.access(), true).await.unwrap();
    assert_eq!(vm.hypervisor.inspect(&vm.access()).await.unwrap().power, Power::Stopped);
    assert!(!vm.run_dir().join("qemu.pid").exists(), "it has ended by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qemu_that_hangs_at_its_end_is_ended_by_a_new_server_too() {
    let mut dependent = Dependent::start().await;
    dependent.hang().await;
    let vm = &dependent.vm;
    signal(vm, Signal::TERM);
    // It knows of no monitor that was open before.
    let hypervisor = QemuHypervisor::new(config(vm.dir.path()));
    hypervisor.stop(&vm.access(), true).await.unwrap();
    assert_eq!(hypervisor.inspect(&vm.access()).await.unwrap().power, Power::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_has_become_whole_outlives_its_qemu() {
    let dependent = Dependent::start().await;
    dependent.hydrate(None, &watch::Sender::new(false)).await.unwrap();
    let vm = &dependent.vm;
    signal(vm, Signal::KILL);
    // Frees the disk.
    vm.hypervisor.stop(&vm.access(), true).await.unwrap();
    let expected = vm.dir.path().join("expected.raw");
    std::fs::write(&expected, vec![7; SIZE_BYTES as usize]).unwrap();
    let disk = vm.definition.disks[0].path.as_ref().unwrap();
    let files = [disk, &expected].map(|path| path.to_str().unwrap());
    assert!(!qemu_img(&["info", files[0]]).contains("backing file:"));
    qemu_img(&["compare", "-q", "-f", "qcow2", "-F", "raw", files[0], files[1]]);
}

fn signal(vm: &Managed, signal: Signal) {
    let process = std::fs::read_to_string(vm.run_dir().join("qemu.pid")).unwrap().trim().parse().ok();
    kill_process(process.and_then(Pid::from_raw).unwrap(), signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn copying_that_failed_while_nobody_waited_begins_anew() {
    let mut dependent = Dependent::start().await;
    dependent.hang().await;
    dependent.mood.send_replace(Mood::Broken);
    let mut monitor = TestMonitor::connect(&dependent.vm.run_dir().join("qmp2.sock"));
    while monitor.send("query-jobs", json!({}))["return"] != json!([]) {
        tokio::task::yield_now().await;
    }
    dependent.mood.send_replace(Mood::Sound);
    dependent.hydrate(None, &watch::Sender::new(false)).await.unwrap();
    let vm = &dependent.vm;
    vm.hypervisor.stop(&vm.access(), true).await.unwrap();

    let failing = Dependent::start().await;
    failing.mood.send_replace(Mood::Broken);
    let error = failing.hydrate(None, &watch::Sender::new(false)).await.unwrap_err();
    assert!(error.to_string().contains("Input/output error"), "{error}");
    failing.vm.hypervisor.stop(&failing.vm.access(), true).await.unwrap();
}
