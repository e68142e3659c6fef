//! Failures of Holdfast's own are never the guest's.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    sync::Arc,
};

use hypervisor::{CaptureOutcome, CapturePhase, CaptureRequest, ErrorKind, Hypervisor};
use image::ByteRange;

use crate::machine::{Disk, Machine, SIZE_BYTES, assert_shows, blocks, changes_of, expected, virtio};

#[tokio::test(flavor = "multi_thread")]
async fn full_scratch_breaks_the_capture_and_not_the_guest() {
    // No file that QEMU writes may grow past 4 MiB, as on a full file system: the disk fits exactly, its scratch does not.
    let mut machine = Machine::start_limited("trap '' XFSZ; ulimit -f 8192", &[Disk::raw("vdata")], &[]);
    machine.write("vdata", 0, SIZE_BYTES, 0x11);

    let capture = machine.hypervisor.capture(machine.request(1, None)).await.unwrap();
    let image = &capture.disks()[0].image;
    assert_shows(&**image, &expected(SIZE_BYTES, &[(0, SIZE_BYTES, 0x11)])).await;
    for place in 0..64 {
        machine.write("vdata", place * 65536, 65536, 0x22);
    }
    let error = image.read_at(0, &mut [0; 512]).await.unwrap_err();
    assert_eq!(error.kind(), image::ErrorKind::Gone, "{error}");
    assert!(image.extents(ByteRange::new(0, SIZE_BYTES)).await.is_err());
    capture.finish(CaptureOutcome::Abandoned).await.unwrap();

    assert_eq!(machine.leftovers(), [""; 0]);
    assert_eq!(machine.status(), "running");
    let verified = machine.qemu_io("vdata", &format!("read -P 0x22 0 {SIZE_BYTES}"));
    assert!(verified.starts_with("read 4194304"), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_with_an_iothread_is_refused_where_reading_it_would_end_the_vm() {
    let disk = Disk::qcow2("vroot");
    let device = virtio("vroot", ",iothread=io");
    let device: Vec<&str> = device.iter().map(String::as_str).collect();
    let mut machine = Machine::start_with(&[disk.with_device(&device)], &["-object", "iothread,id=io"]);

    let inspection = machine.hypervisor.inspect(&machine.access()).await.unwrap();
    match machine.hypervisor.capture(machine.request(1, None)).await {
        Ok(capture) => {
            // A newer QEMU, or a host with FUSE.
            assert_shows(&*capture.disks()[0].image, &expected(4 << 20, &[])).await;
            capture.finish(CaptureOutcome::Kept).await.unwrap();
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.guidance().is_some_and(|guidance| guidance.contains("I/O thread")));
            assert!(
                inspection.limits.iter().any(|limit| limit.contains("I/O thread")),
                "{:?}",
                inspection.limits
            );
        }
    }
    assert!(machine.is_alive());
    assert_eq!(machine.leftovers(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_dies_while_held_takes_the_moment_with_it_and_nothing_else() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot")]);
    machine
        .hypervisor
        .capture(machine.request(1, None))
        .await
        .unwrap()
        .finish(CaptureOutcome::Kept)
        .await
        .unwrap();
    let capture = machine.hypervisor.capture(machine.request(2, Some(1))).await.unwrap();
    machine.kill();
    let error = capture.disks()[0].image.read_at(0, &mut [0; 512]).await.unwrap_err();
    assert_eq!(error.kind(), image::ErrorKind::Gone, "{error}");
    capture.finish(CaptureOutcome::Abandoned).await.unwrap();

    machine.start_again();
    assert_eq!(machine.leftovers(), [""; 0]);
    let third = machine.hypervisor.capture(machine.request(3, Some(1))).await.unwrap();
    third.finish(CaptureOutcome::Kept).await.unwrap();
    machine.write("vroot", 65536, 65536, 0x01);
    let fourth = machine.hypervisor.capture(machine.request(4, Some(3))).await.unwrap();
    assert_eq!(changes_of(&fourth.disks()[0]).await, [blocks(1, 1)]);
    fourth.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_its_owner_pauses_meanwhile_stays_paused_and_is_not_captured() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot")]);
    let monitor = machine.dir.path().join("qmp2.sock");
    let on_phase = Arc::new(move |phase| {
        if phase == CapturePhase::Fixing {
            let mut monitor = BufReader::new(UnixStream::connect(&monitor).unwrap());
            let orders = "{\"execute\": \"qmp_capabilities\"}\n{\"execute\": \"stop\", \"id\": \"stop\"}\n";
            monitor.get_mut().write_all(orders.as_bytes()).unwrap();
            let mut lines = monitor.lines().map(Result::unwrap);
            lines.find(|line| line.contains("\"id\": \"stop\"")).unwrap();
        }
    });
    let request = CaptureRequest { on_phase, ..machine.request(1, None) };
    let error = machine.hypervisor.capture(request).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert_eq!(machine.status(), "paused", "it is theirs to resume");
    assert_eq!(machine.leftovers(), [""; 0]);
    assert_eq!(machine.bitmaps("vroot"), [""; 0]);
}
