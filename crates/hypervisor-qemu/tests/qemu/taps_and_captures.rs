//! A VM whose writes are taken is captured as any other, and neither is in the other's way.

use std::sync::Arc;

use hypervisor::{CaptureOutcome, Chain, ErrorKind, Hydration, Hypervisor, TapEnd, TapRequest, TappedDisk};
use image::ByteRange;

use crate::{
    guest_agent::{Behaviour, GuestAgent},
    machine::{
        Disk, Machine, SIZE_BYTES, assert_shows, bitmap_name, changes_of, committed, expected, qemu_img,
    },
    replication::{BLOCK, begin, disks, journal_id, request},
    tap_server::{TapServer, export, in_time},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_tapped_vm_is_captured_and_the_tap_goes_on() {
    let disks = disks();
    let mut machine = Machine::start(&disks);
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let tap = begin(&machine, &server, None).await;
    machine.write("vroot", 0, 65536, 0x11);
    let first = in_time(machine.hypervisor.capture(machine.request(1, None))).await.unwrap();
    machine.write("vroot", 0, 65536, 0x22);
    machine.write("vdata", 0, 4096, 0x33);
    tap.begin_epoch().await.unwrap();
    assert_shows(&*first.disks()[0].image, &expected(SIZE_BYTES, &[(0, 65536, 0x11)])).await;
    assert_shows(&*tap.disks()[0].live, &expected(SIZE_BYTES, &[(0, 65536, 0x22)])).await;
    first.finish(CaptureOutcome::Kept).await.unwrap();
    assert_eq!(server.taken().len(), 3);
    assert_shows(&*tap.disks()[0].live, &expected(SIZE_BYTES, &[(0, 65536, 0x22)])).await;

    machine.write("vroot", 65536, 512, 0x44);
    let second = in_time(machine.hypervisor.capture(machine.request(2, Some(1)))).await.unwrap();
    assert_eq!(changes_of(&second.disks()[0]).await, [ByteRange::new(0, 65536 + BLOCK)]);
    tap.end_reading().await.unwrap();
    assert_shows(&*second.disks()[1].image, &expected(SIZE_BYTES, &[(0, 4096, 0x33)])).await;
    second.finish(CaptureOutcome::Abandoned).await.unwrap();
    machine.write("vroot", 0, 512, 0x55);
    assert_eq!(server.taken().len(), 5);

    in_time(machine.hypervisor.end_tap(&machine.access(), journal_id(1))).await.unwrap();
    assert_eq!(machine.leftovers(), [""; 0]);
    assert_eq!(machine.bitmaps("vroot"), [bitmap_name(1, "vroot")], "backups go on where they were");
}

/// QEMU aborts when a node goes away that has a copy-before-write filter directly above it.
#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_breaks_under_a_capture_takes_neither_it_nor_the_vm_along() {
    let disks = disks();
    let mut machine = Machine::start(&disks);
    machine.write("vroot", 0, 65536, 0x11);
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let tap = begin(&machine, &server, None).await;
    let capture = in_time(machine.hypervisor.capture(machine.request(1, None))).await.unwrap();
    server.kill().await;
    machine.write("vroot", 0, 65536, 0x22);
    assert!(matches!(in_time(tap.ended()).await, TapEnd::Broken(_)));
    machine.write("vroot", 65536, 65536, 0x33);
    assert!(machine.is_alive());
    assert_shows(&*capture.disks()[0].image, &expected(SIZE_BYTES, &[(0, 65536, 0x11)])).await;

    let second = TapServer::start(machine.dir.path(), "second", &disks).await;
    let busy = in_time(machine.hypervisor.begin_tap(&request(&machine, &second, None))).await.err().unwrap();
    assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
    assert!(busy.guidance().is_some());
    assert_shows(&*capture.disks()[0].image, &expected(SIZE_BYTES, &[(0, 65536, 0x11)])).await;
    capture.finish(CaptureOutcome::Kept).await.unwrap();
    let _tap = begin(&machine, &second, None).await;
    machine.write("vroot", 0, 512, 0x44);
    assert_eq!(second.taken().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_is_ended_under_a_capture() {
    let disks = disks();
    let mut machine = Machine::start(&disks);
    machine.write("vroot", 0, 65536, 0x11);
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let _tap = begin(&machine, &server, None).await;
    let capture = in_time(machine.hypervisor.capture(machine.request(1, None))).await.unwrap();
    in_time(machine.hypervisor.end_tap(&machine.access(), journal_id(1))).await.unwrap();
    machine.write("vroot", 0, 65536, 0x22);
    assert_shows(&*capture.disks()[0].image, &expected(SIZE_BYTES, &[(0, 65536, 0x11)])).await;
    capture.finish(CaptureOutcome::Abandoned).await.unwrap();
    assert_eq!(machine.leftovers(), [""; 0]);
}

/// QEMU tells where such a disk stands by other means.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_was_attached_the_old_way_is_tapped_and_captured_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("legacy.qcow2");
    qemu_img(&["create", "-q", "-f", "qcow2", path.to_str().unwrap(), &SIZE_BYTES.to_string()]);
    let drive = format!("if=none,id=drive-name,file={},format=qcow2", path.display());
    let arguments = ["-drive", &drive, "-device", "virtio-blk-pci,id=legacy,drive=drive-name"];
    let mut machine = Machine::start_with(&[], &arguments);
    let disks = [Disk::qcow2("legacy")];
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let tapped = TappedDisk { disk: "legacy".parse().unwrap(), export: export("legacy") };
    let request = TapRequest { disks: vec![tapped], ..request(&machine, &server, None) };
    let tap = in_time(machine.hypervisor.begin_tap(&request)).await.unwrap();
    machine.write("legacy", 0, 512, 0x11);
    let capture = in_time(machine.hypervisor.capture(machine.request(1, None))).await.unwrap();
    machine.write("legacy", 0, 512, 0x22);
    server.kill().await;
    machine.write("legacy", 512, 512, 0x33);
    assert!(matches!(in_time(tap.ended()).await, TapEnd::Broken(_)));
    assert_shows(&*capture.disks()[0].image, &expected(SIZE_BYTES, &[(0, 512, 0x11)])).await;
    capture.finish(CaptureOutcome::Abandoned).await.unwrap();
    in_time(machine.hypervisor.end_tap(&machine.access(), journal_id(1))).await.unwrap();
    assert_eq!(machine.leftovers(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_frees_a_guest_of_captures_leaves_its_tap() {
    let disks = disks();
    let mut machine = Machine::start(&disks);
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let tap = begin(&machine, &server, None).await;
    drop(in_time(machine.hypervisor.capture(machine.request(1, None))).await.unwrap());
    let done = machine.hypervisor.free(&machine.access()).await.unwrap();
    assert!(!done.is_empty());
    let done = machine.hypervisor.recover(&machine.access(), Chain::Backup, &committed(9)).await.unwrap();
    assert!(done.iter().all(|what| what.contains("bitmap")), "{done:?}");
    machine.write("vroot", 0, 512, 0x11);
    assert_eq!(server.taken().len(), 1);
    assert_eq!(machine.bitmaps("vroot").len(), 1, "its tracking too");
    assert_shows(&*tap.disks()[0].live, &expected(SIZE_BYTES, &[(0, 512, 0x11)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_no_filter_is_not_captured_while_it_is_tapped() {
    let disk = Disk::qcow2("vroot");
    let disk = disk.with_device(&["-device", "nvme,serial=x", "-device", "nvme-ns,id=vroot,drive=vroot"]);
    let mut machine = Machine::start(std::slice::from_ref(&disk));
    let server = TapServer::start(machine.dir.path(), "tap", &[disk]).await;
    let _tap = begin(&machine, &server, None).await;
    let busy = in_time(machine.hypervisor.capture(machine.request(1, None))).await.err().unwrap();
    assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
    machine.write("vroot", 0, 512, 0x11);
    assert_eq!(server.taken().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_not_made_whole_while_it_is_tapped() {
    let disks = [Disk::qcow2("vroot")];
    let mut machine = Machine::start(&disks);
    machine.quit();
    let (base, image) = (machine.dir.path().join("base"), machine.dir.path().join("vroot.qcow2"));
    qemu_img(&["create", "-q", "-f", "raw", base.to_str().unwrap(), &SIZE_BYTES.to_string()]);
    qemu_img(&["rebase", "-u", "-b", base.to_str().unwrap(), "-F", "raw", image.to_str().unwrap()]);
    machine.start_again();
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let tap = begin(&machine, &server, None).await;
    let hydration = Hydration { disk: "vroot".parse().unwrap(), rate_limit_bytes_per_second: Some(65536) };
    let access = machine.access();
    let busy = in_time(machine.hypervisor.hydrate(&access, &hydration, &|_, _| {})).await.unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
    assert!(busy.guidance().is_some());
    drop(tap);
    machine.hypervisor.end_tap(&access, journal_id(1)).await.unwrap();

    let has_begun = Arc::new(tokio::sync::Notify::new());
    let begins = has_begun.clone();
    let listener = move |_, _| begins.notify_one();
    let hydrating = machine.hypervisor.hydrate(&access, &hydration, &listener);
    let tapping = async {
        has_begun.notified().await;
        machine.hypervisor.begin_tap(&request(&machine, &server, None)).await.err().unwrap()
    };
    let busy = in_time(async {
        tokio::select! {
            hydrated = hydrating => panic!("it has ended: {hydrated:?}"),
            busy = tapping => busy,
        }
    });
    assert_eq!(busy.await.kind(), ErrorKind::Busy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_stands_still_until_it_is_let_go() {
    let mut machine = Machine::start(&disks());
    let path = machine.dir.path().join("agent.sock");
    let none = machine.hypervisor.quiesce(&machine.access(), std::time::Duration::from_secs(60)).await;
    assert_eq!(none.err().map(|error| error.kind()), Some(ErrorKind::Consistency));
    let agent = GuestAgent::listen(&path, Behaviour::default());
    machine.agent = Some(path);
    let access = machine.access();
    let quiesce = |seconds| machine.hypervisor.quiesce(&access, std::time::Duration::from_secs(seconds));

    let quiet = in_time(quiesce(60)).await.unwrap();
    assert!(agent.is_frozen());
    in_time(quiet.end()).await.unwrap();
    assert!(!agent.is_frozen());

    let quiet = in_time(quiesce(60)).await.unwrap();
    drop(quiet);
    agent.wait_for_thaws(2);

    let quiet = in_time(quiesce(1)).await.unwrap();
    agent.wait_for_thaws(3);
    let early = in_time(quiet.end()).await.unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Consistency);
    assert!(early.to_string().contains("limit"), "{early}");
    assert!(!machine.dir.path().join("run").join(machine.vm_id.as_str()).join("ledger.json").exists());
}
