//! What is known of the changes between two captures.

use std::fs;

use hypervisor::{CaptureOutcome, Chain, Hypervisor, Tracking};
use image::ByteRange;
use serde_json::json;

use crate::machine::{
    Disk, Machine, SIZE_BYTES, assert_shows, bitmap_name, blocks, changes_of, committed, expected, reason_of,
    virtio,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_capture_is_the_baseline_of_the_next() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot"), Disk::raw("vdata")]);
    let first = machine.hypervisor.capture(machine.request(1, None)).await.unwrap();
    machine.write("vroot", 65536, 512, 0x01);
    machine.write("vdata", 10 * 65536, 65536, 0x02);
    first.finish(CaptureOutcome::Kept).await.unwrap();
    machine.write("vroot", 20 * 65536, 2 * 65536, 0x03);

    let second = machine.hypervisor.capture(machine.request(2, Some(1))).await.unwrap();
    machine.write("vroot", 40 * 65536, 65536, 0x04);
    assert_eq!(changes_of(&second.disks()[0]).await, [ByteRange::new(65536, 16384), blocks(20, 2)]);
    assert_eq!(changes_of(&second.disks()[1]).await, [blocks(10, 1)]);
    second.finish(CaptureOutcome::Kept).await.unwrap();

    let third = machine.hypervisor.capture(machine.request(3, Some(2))).await.unwrap();
    assert_eq!(changes_of(&third.disks()[0]).await, [blocks(40, 1)]);
    assert_eq!(changes_of(&third.disks()[1]).await, []);
    third.finish(CaptureOutcome::Kept).await.unwrap();
    assert_eq!(machine.bitmaps("vroot").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_capture_leaves_no_gap() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot"), Disk::raw("vdata")]);
    let first = machine.hypervisor.capture(machine.request(1, None)).await.unwrap();
    first.finish(CaptureOutcome::Kept).await.unwrap();
    machine.write("vroot", 0, 65536, 0x01);
    let abandoned = machine.hypervisor.capture(machine.request(2, Some(1))).await.unwrap();
    machine.write("vroot", 2 * 65536, 65536, 0x02);
    machine.write("vdata", 3 * 65536, 65536, 0x03);
    abandoned.finish(CaptureOutcome::Abandoned).await.unwrap();
    machine.write("vroot", 4 * 65536, 65536, 0x04);

    let third = machine.hypervisor.capture(machine.request(3, Some(1))).await.unwrap();
    assert_eq!(changes_of(&third.disks()[0]).await, [blocks(0, 1), blocks(2, 1), blocks(4, 1)]);
    assert_eq!(changes_of(&third.disks()[1]).await, [blocks(3, 1)]);
    third.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tracking_goes_on_over_an_orderly_end_of_the_vm() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot"), Disk::raw("vdata")]);
    machine
        .hypervisor
        .capture(machine.request(1, None))
        .await
        .unwrap()
        .finish(CaptureOutcome::Kept)
        .await
        .unwrap();
    machine.write("vroot", 5 * 65536, 65536, 0x01);
    machine.quit();
    machine.start_again();

    let second = machine.hypervisor.capture(machine.request(2, Some(1))).await.unwrap();
    assert_eq!(changes_of(&second.disks()[0]).await, [blocks(5, 1)]);
    assert!(reason_of(&second.disks()[1]).contains("not qcow2"), "{}", reason_of(&second.disks()[1]));
    second.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_is_told_and_heals_with_the_next_capture() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot")]);
    machine
        .hypervisor
        .capture(machine.request(1, None))
        .await
        .unwrap()
        .finish(CaptureOutcome::Kept)
        .await
        .unwrap();
    machine.quit(); // writes the bitmap into the image
    machine.start_again(); // marks it as in use
    machine.write("vroot", 0, 65536, 0x01);
    machine.qemu_io("vroot", "flush");
    machine.kill();
    machine.start_again();

    let inspection = machine.hypervisor.inspect(&machine.access()).await.unwrap();
    assert!(
        matches!(inspection.disks[0].tracking, Tracking::Broken(_)),
        "{:?}",
        inspection.disks[0].tracking
    );
    machine.hypervisor.recover(&machine.access(), Chain::Backup, &committed(1)).await.unwrap();
    let second = machine.hypervisor.capture(machine.request(2, Some(1))).await.unwrap();
    assert!(reason_of(&second.disks()[0]).contains("may miss changes"), "{}", reason_of(&second.disks()[0]));
    assert_shows(&*second.disks()[0].image, &expected(SIZE_BYTES, &[(0, 65536, 0x01)])).await;
    second.finish(CaptureOutcome::Kept).await.unwrap();

    machine.write("vroot", 7 * 65536, 65536, 0x02);
    let third = machine.hypervisor.capture(machine.request(3, Some(2))).await.unwrap();
    assert_eq!(changes_of(&third.disks()[0]).await, [blocks(7, 1)]);
    third.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_before_the_bitmap_was_ever_written_is_told() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot")]);
    machine
        .hypervisor
        .capture(machine.request(1, None))
        .await
        .unwrap()
        .finish(CaptureOutcome::Kept)
        .await
        .unwrap();
    machine.kill();
    machine.start_again();
    let second = machine.hypervisor.capture(machine.request(2, Some(1))).await.unwrap();
    assert!(reason_of(&second.disks()[0]).contains("powered off"), "{}", reason_of(&second.disks()[0]));
    second.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_baseline_is_told() {
    let machine = Machine::start(&[Disk::qcow2("vroot")]);
    machine
        .hypervisor
        .capture(machine.request(1, None))
        .await
        .unwrap()
        .finish(CaptureOutcome::Kept)
        .await
        .unwrap();
    let second = machine.hypervisor.capture(machine.request(3, Some(2))).await.unwrap();
    assert!(reason_of(&second.disks()[0]).contains("does not carry"), "{}", reason_of(&second.disks()[0]));
    second.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_grew_is_shown_in_its_new_size() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot")]);
    machine
        .hypervisor
        .capture(machine.request(1, None))
        .await
        .unwrap()
        .finish(CaptureOutcome::Kept)
        .await
        .unwrap();
    machine.execute("block_resize", json!({"node-name": "vroot", "size": 2 * SIZE_BYTES}));
    machine.write("vroot", SIZE_BYTES, 65536, 0x01);

    let second = machine.hypervisor.capture(machine.request(2, Some(1))).await.unwrap();
    assert_shows(&*second.disks()[0].image, &expected(2 * SIZE_BYTES, &[(SIZE_BYTES, 65536, 0x01)])).await;
    assert_eq!(changes_of(&second.disks()[0]).await, [blocks(64, 1)]);
    second.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bitmaps_of_swapped_images_are_not_trusted() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot"), Disk::qcow2("vdata")]);
    let first = machine.hypervisor.capture(machine.request(1, None)).await.unwrap();
    first.finish(CaptureOutcome::Kept).await.unwrap();
    machine.quit();
    let image = |name: &str| machine.dir.path().join(name);
    fs::rename(image("vroot.qcow2"), image("other")).unwrap();
    fs::rename(image("vdata.qcow2"), image("vroot.qcow2")).unwrap();
    fs::rename(image("other"), image("vdata.qcow2")).unwrap();
    machine.start_again();

    let second = machine.hypervisor.capture(machine.request(2, Some(1))).await.unwrap();
    for disk in second.disks() {
        assert!(reason_of(disk).contains("its image was replaced"), "{}", reason_of(disk));
    }
    second.finish(CaptureOutcome::Kept).await.unwrap();
    assert_eq!(machine.bitmaps("vroot"), [bitmap_name(2, "vroot")], "the foreign bitmaps are gone");
    assert_eq!(machine.bitmaps("vdata"), [bitmap_name(2, "vdata")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_others_write_to_is_not_tracked() {
    let shared = Disk { device: virtio("vdata", ",share-rw=on"), ..Disk::qcow2("vdata") };
    let mut machine = Machine::start(&[Disk::qcow2("vroot"), shared]);
    let first = machine.hypervisor.capture(machine.request(1, None)).await.unwrap();
    first.finish(CaptureOutcome::Kept).await.unwrap();
    let second = machine.hypervisor.capture(machine.request(2, Some(1))).await.unwrap();
    assert_eq!(changes_of(&second.disks()[0]).await, []);
    assert!(reason_of(&second.disks()[1]).contains("share-rw"), "{}", reason_of(&second.disks()[1]));
    second.finish(CaptureOutcome::Kept).await.unwrap();
    assert_eq!(machine.bitmaps("vdata"), [""; 0]);

    let inspection = machine.hypervisor.inspect(&machine.access()).await.unwrap();
    assert!(
        inspection.limits.iter().any(|limit| limit.contains("vdata is shared")),
        "{:?}",
        inspection.limits
    );
}
