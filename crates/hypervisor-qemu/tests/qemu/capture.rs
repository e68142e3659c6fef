//! What a capture shows, and what it leaves.

use hypervisor::{CaptureOutcome, DiskChanges, ErrorKind, Hypervisor, Power, Tracking};
use model::{Consistency, DiskFormat};
use serde_json::json;

use crate::machine::{Disk, Machine, SIZE_BYTES, assert_shows, capture_id, expected};

#[tokio::test(flavor = "multi_thread")]
async fn shows_the_moment_while_the_guest_writes_on() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot"), Disk::raw("vdata")]);
    machine.write("vroot", 0, 1 << 20, 0x11);
    machine.write("vdata", 1 << 20, 1 << 20, 0x22);

    let capture = machine.hypervisor.capture(machine.request(1, None)).await.unwrap();
    machine.write("vroot", 512 << 10, 1 << 20, 0x33);
    machine.write("vdata", 0, 4 << 20, 0x44);

    let names: Vec<_> = capture.disks().iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["vroot", "vdata"]);
    assert_shows(&*capture.disks()[0].image, &expected(SIZE_BYTES, &[(0, 1 << 20, 0x11)])).await;
    assert_shows(&*capture.disks()[1].image, &expected(SIZE_BYTES, &[(1 << 20, 1 << 20, 0x22)])).await;
    assert!(
        matches!(&capture.disks()[0].changes, DiskChanges::Unknown { reason } if reason.contains("no earlier backup"))
    );
    assert_eq!(capture.facts().consistency.reached, Consistency::Crash);
    let cost = capture.cost().await;
    assert!(cost.pause_us.is_some() && cost.freeze_us.is_none());
    assert_eq!(machine.status(), "running");

    capture.finish(CaptureOutcome::Kept).await.unwrap();
    assert_eq!(machine.leftovers(), [""; 0]);
    assert_eq!(machine.bitmaps("vroot").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn shows_the_moment_through_reads_of_any_place_and_length() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot")]);
    let mut before = Vec::new();
    for place in (0..64).filter(|place| place % 3 != 0) {
        machine.write("vroot", place * 65536, 65536, place as u8);
        before.push((place * 65536, 65536, place as u8));
    }
    let before = expected(SIZE_BYTES, &before);

    let capture = machine.hypervisor.capture(machine.request(1, None)).await.unwrap();
    let image = &capture.disks()[0].image;
    for step in 0..40_u64 {
        let offset = step * 7919 % 8000 * 512;
        let length = (step * 104_729 % 300 + 1) * 512;
        match step % 3 {
            0 => machine.write("vroot", offset, length.min(SIZE_BYTES - offset), 0xff),
            1 => drop(
                machine.qemu_io("vroot", &format!("discard {offset} {}", length.min(SIZE_BYTES - offset))),
            ),
            _ => drop(
                machine.qemu_io("vroot", &format!("write -z {offset} {}", length.min(SIZE_BYTES - offset))),
            ),
        }
        let read = (step * 50_021 % 4000 * 512, (step * 13 % 500 + 1) * 512);
        let mut buffer = vec![0; read.1.min(SIZE_BYTES - read.0) as usize];
        image.read_at(read.0, &mut buffer).await.unwrap();
        assert!(
            buffer == before[read.0 as usize..][..buffer.len()],
            "{} bytes at {} in step {step}",
            read.1,
            read.0
        );
    }
    image::conformance::check_image(&**image, &before).await;
    capture.finish(CaptureOutcome::Abandoned).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tells_what_it_cost_the_guests_writes() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot")]);
    let capture = machine.hypervisor.capture(machine.request(1, None)).await.unwrap();
    assert_eq!(capture.cost().await.write_p99_during_us, None, "nobody wrote");
    machine.qemu_io("vroot", "aio_write 0 64k");
    machine.qemu_io("vroot", "aio_flush");
    let during = capture.cost().await.write_p99_during_us;
    assert!(during.is_some());
    capture.finish(CaptureOutcome::Kept).await.unwrap();

    machine.qemu_io("vroot", "aio_write 64k 64k");
    machine.qemu_io("vroot", "aio_flush");
    let next = machine.hypervisor.capture(machine.request(2, Some(1))).await.unwrap();
    let cost = next.cost().await;
    assert!(cost.write_p99_before_us.is_some() && cost.write_p99_during_us.is_none());
    next.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn is_possible_twice_and_shows_the_second_moment() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot")]);
    let first = machine.hypervisor.capture(machine.request(1, None)).await.unwrap();
    machine.write("vroot", 0, 65536, 0x55);
    first.finish(CaptureOutcome::Kept).await.unwrap();

    let second = machine.hypervisor.capture(machine.request(2, Some(1))).await.unwrap();
    assert_shows(&*second.disks()[0].image, &expected(SIZE_BYTES, &[(0, 65536, 0x55)])).await;
    second.finish(CaptureOutcome::Kept).await.unwrap();
    assert_eq!(machine.leftovers(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaves_a_paused_vm_paused() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot")]);
    machine.execute("stop", json!({}));

    let capture = machine.hypervisor.capture(machine.request(1, None)).await.unwrap();
    assert_eq!(machine.status(), "paused");
    assert_eq!(capture.cost().await.pause_us, None);
    capture.finish(CaptureOutcome::Kept).await.unwrap();
    assert_eq!(machine.status(), "paused");
    assert_eq!(machine.hypervisor.inspect(&machine.access()).await.unwrap().power, Power::Paused);
}

#[tokio::test(flavor = "multi_thread")]
async fn is_refused_while_somebody_else_serves_nbd() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot")]);
    let path = machine.dir.path().join("foreign.sock");
    machine.execute("nbd-server-start", json!({"addr": {"type": "unix", "data": {"path": path}}}));

    let error = machine.hypervisor.capture(machine.request(1, None)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.guidance().is_some());
    assert_eq!(machine.leftovers(), [""; 0]);
    assert_eq!(machine.bitmaps("vroot"), [""; 0]);
    machine.execute("nbd-server-stop", json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn is_refused_while_somebody_else_runs_a_block_job() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot")]);
    let target = json!({"driver": "null-co", "node-name": "target", "size": SIZE_BYTES, "read-zeroes": true});
    machine.execute("blockdev-add", target);
    let job = json!({"job-id": "theirs", "device": "vroot", "target": "target", "sync": "none"});
    machine.execute("blockdev-mirror", job);

    let error = machine.hypervisor.capture(machine.request(1, None)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.to_string().contains("theirs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn can_be_looked_at_while_it_is_held() {
    let machine = Machine::start(&[Disk::qcow2("vroot"), Disk::raw("vdata")]);
    let capture = machine.hypervisor.capture(machine.request(1, None)).await.unwrap();
    let inspection = machine.hypervisor.inspect(&machine.access()).await.unwrap();
    assert_eq!(inspection.power, Power::Running);
    let formats: Vec<_> = inspection.disks.iter().map(|disk| disk.format).collect();
    assert_eq!(formats, [DiskFormat::Qcow2, DiskFormat::Raw]);
    assert_eq!(inspection.disks[0].path, machine.dir.path().join("vroot.qcow2"));
    assert_eq!(inspection.disks[0].size_bytes.0, SIZE_BYTES);
    assert_eq!(inspection.disks[0].tracking, Tracking::Since(capture_id(1)));
    capture.finish(CaptureOutcome::Kept).await.unwrap();
}
