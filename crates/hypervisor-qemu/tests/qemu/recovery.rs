//! After the death of a Holdfast that held a VM.

use hypervisor::{CaptureOutcome, Hypervisor};
use hypervisor_qemu::QemuHypervisor;

use crate::machine::{Disk, Machine, blocks, capture_id, changes_of, config};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_found_by_name_and_taken_down() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot"), Disk::raw("vdata")]);
    machine
        .hypervisor
        .capture(machine.request(1, None))
        .await
        .unwrap()
        .finish(CaptureOutcome::Kept)
        .await
        .unwrap();
    machine.write("vroot", 0, 512, 0x01);
    drop(machine.hypervisor.capture(machine.request(2, Some(1))).await.unwrap());
    machine.write("vroot", 2 * 65536, 512, 0x02);
    assert!(!machine.leftovers().is_empty());

    machine.hypervisor = QemuHypervisor::new(config(machine.dir.path()));
    let done = machine.hypervisor.recover(&machine.access(), Some(capture_id(1))).await.unwrap();
    assert!(!done.is_empty());
    assert_eq!(machine.leftovers(), [""; 0]);
    assert_eq!(machine.bitmaps("vroot"), [format!("holdfast-{}", capture_id(1))]);
    let again = machine.hypervisor.recover(&machine.access(), Some(capture_id(1))).await.unwrap();
    assert_eq!(again, [""; 0], "the second time there is nothing to do");

    let third = machine.hypervisor.capture(machine.request(3, Some(1))).await.unwrap();
    assert_eq!(changes_of(&third.disks()[0]).await, [blocks(0, 1), blocks(2, 1)]);
    third.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_was_committed_but_not_finished_is_the_next_baseline() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot")]);
    machine
        .hypervisor
        .capture(machine.request(1, None))
        .await
        .unwrap()
        .finish(CaptureOutcome::Kept)
        .await
        .unwrap();
    machine.write("vroot", 0, 512, 0x01);
    drop(machine.hypervisor.capture(machine.request(2, Some(1))).await.unwrap());
    machine.write("vroot", 65536, 512, 0x02);

    let third = machine.hypervisor.capture(machine.request(3, Some(2))).await.unwrap();
    assert_eq!(changes_of(&third.disks()[0]).await, [blocks(1, 1)]);
    third.finish(CaptureOutcome::Kept).await.unwrap();
    assert_eq!(machine.bitmaps("vroot"), [format!("holdfast-{}", capture_id(3))]);
}
