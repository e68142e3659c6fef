//! Backups and snapshots take turns on one VM, and each counts changes from its own predecessor.

use hypervisor::{Baseline, CaptureOutcome, CaptureRequest, Chain, Hypervisor};
use hypervisor_qemu::QemuHypervisor;
use model::DiskName;

use crate::machine::{Disk, Machine, blocks, capture_id, changes_of, committed, config, reason_of};

fn snapshot(machine: &Machine, number: u8, baseline: Option<u8>) -> CaptureRequest {
    CaptureRequest { chain: Chain::Snapshot, ..machine.request(number, baseline) }
}

/// Makes a capture that is kept. Returns the blocks that it says have changed on the first disk.
async fn kept(machine: &Machine, request: CaptureRequest) -> Vec<image::ByteRange> {
    let capture = machine.hypervisor.capture(request).await.unwrap();
    let changes = changes_of(&capture.disks()[0]).await;
    capture.finish(CaptureOutcome::Kept).await.unwrap();
    changes
}

async fn begin(machine: &Machine, request: CaptureRequest) {
    let capture = machine.hypervisor.capture(request).await.unwrap();
    capture.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_names_exactly_what_changed_since_its_own_predecessor() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot"), Disk::raw("vdata")]);
    begin(&machine, machine.request(1, None)).await;
    machine.write("vroot", 65536, 65536, 0x01);
    begin(&machine, snapshot(&machine, 2, None)).await;
    machine.write("vroot", 2 * 65536, 65536, 0x02);
    assert_eq!(kept(&machine, machine.request(3, Some(1))).await, [blocks(1, 2)]);
    machine.write("vroot", 4 * 65536, 65536, 0x03);
    assert_eq!(kept(&machine, snapshot(&machine, 4, Some(2))).await, [blocks(2, 1), blocks(4, 1)]);
    assert_eq!(machine.bitmaps("vroot").len(), 2, "one of each chain");
    machine.write("vroot", 6 * 65536, 65536, 0x04);
    assert_eq!(kept(&machine, machine.request(5, Some(3))).await, [blocks(4, 1), blocks(6, 1)]);
    assert_eq!(kept(&machine, snapshot(&machine, 6, Some(4))).await, [blocks(6, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_capture_of_one_chain_leaves_no_gap_in_either() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot"), Disk::raw("vdata")]);
    begin(&machine, machine.request(1, None)).await;
    begin(&machine, snapshot(&machine, 2, None)).await;
    machine.write("vroot", 0, 65536, 0x01);
    let abandoned = machine.hypervisor.capture(snapshot(&machine, 3, Some(2))).await.unwrap();
    machine.write("vroot", 2 * 65536, 65536, 0x02);
    abandoned.finish(CaptureOutcome::Abandoned).await.unwrap();
    machine.write("vroot", 4 * 65536, 65536, 0x03);
    assert_eq!(kept(&machine, machine.request(4, Some(1))).await, [blocks(0, 1), blocks(2, 1), blocks(4, 1)]);
    assert_eq!(
        kept(&machine, snapshot(&machine, 5, Some(2))).await,
        [blocks(0, 1), blocks(2, 1), blocks(4, 1)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_with_a_snapshot_leaves_the_backups_whole() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot"), Disk::raw("vdata")]);
    begin(&machine, machine.request(1, None)).await;
    begin(&machine, snapshot(&machine, 2, None)).await;
    machine.write("vroot", 0, 65536, 0x01);
    drop(machine.hypervisor.capture(snapshot(&machine, 3, Some(2))).await.unwrap()); // nobody finishes it
    machine.write("vroot", 2 * 65536, 65536, 0x02);

    // Another process, which is asked for a backup first.
    let other = QemuHypervisor::new(config(machine.dir.path()));
    let backup = other.capture(machine.request(4, Some(1))).await.unwrap();
    assert_eq!(changes_of(&backup.disks()[0]).await, [blocks(0, 1), blocks(2, 1)]);
    backup.finish(CaptureOutcome::Kept).await.unwrap();
    let done = other.recover(&machine.access(), Chain::Snapshot, &committed(2)).await.unwrap();
    assert!(done.iter().any(|step| step.contains("took up change tracking")), "{done:?}");
    machine.write("vroot", 4 * 65536, 65536, 0x03);
    let next = other.capture(snapshot(&machine, 5, Some(2))).await.unwrap();
    assert_eq!(changes_of(&next.disks()[0]).await, [blocks(0, 1), blocks(2, 1), blocks(4, 1)]);
    next.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_disk_is_captured_alone_and_the_others_are_counted_on() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot"), Disk::raw("vdata")]);
    begin(&machine, snapshot(&machine, 1, None)).await;
    machine.write("vroot", 0, 65536, 0x01);
    machine.write("vdata", 65536, 65536, 0x02);
    let vdata: DiskName = "vdata".parse().unwrap();
    let of_vdata = CaptureRequest { disk: Some(vdata.clone()), ..snapshot(&machine, 2, Some(1)) };
    let alone = machine.hypervisor.capture(of_vdata).await.unwrap();
    assert_eq!(alone.disks().len(), 1);
    assert_eq!(changes_of(&alone.disks()[0]).await, [blocks(1, 1)]);
    alone.finish(CaptureOutcome::Kept).await.unwrap();

    let mut baseline: Baseline = committed(1);
    baseline.set(vdata, capture_id(2));
    let all = CaptureRequest { baseline, ..snapshot(&machine, 3, None) };
    let all = machine.hypervisor.capture(all).await.unwrap();
    assert_eq!(changes_of(&all.disks()[0]).await, [blocks(0, 1)]);
    assert_eq!(changes_of(&all.disks()[1]).await, []);
    all.finish(CaptureOutcome::Kept).await.unwrap();

    let absent = CaptureRequest { disk: Some("vswap".parse().unwrap()), ..snapshot(&machine, 4, Some(3)) };
    let error = machine.hypervisor.capture(absent).await.err().unwrap();
    assert!(error.to_string().contains("it has vroot, vdata"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chains_of_a_stopped_vm_are_apart_too() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot")]);
    let seen = machine.hypervisor.inspect(&machine.access()).await.unwrap();
    machine.last_seen = Some(Box::new(seen.definition));
    begin(&machine, machine.request(1, None)).await;
    begin(&machine, snapshot(&machine, 2, None)).await;
    machine.write("vroot", 5 * 65536, 65536, 0x01);
    machine.quit();
    let at_rest = machine.hypervisor.capture(snapshot(&machine, 3, Some(2))).await.unwrap();
    assert_eq!(changes_of(&at_rest.disks()[0]).await, [blocks(5, 1)]);
    at_rest.finish(CaptureOutcome::Kept).await.unwrap();
    let at_rest = machine.hypervisor.capture(machine.request(4, Some(1))).await.unwrap();
    assert_eq!(changes_of(&at_rest.disks()[0]).await, [blocks(5, 1)]);
    at_rest.finish(CaptureOutcome::Abandoned).await.unwrap();
    machine.start_again();
    let running = machine.hypervisor.capture(snapshot(&machine, 5, Some(3))).await.unwrap();
    assert_eq!(changes_of(&running.disks()[0]).await, []);
    running.finish(CaptureOutcome::Kept).await.unwrap();
    let unknown = machine.hypervisor.capture(snapshot(&machine, 6, Some(1))).await.unwrap();
    assert!(reason_of(&unknown.disks()[0]).contains("last snapshot's bitmap"), "a backup's is of no use");
    unknown.finish(CaptureOutcome::Abandoned).await.unwrap();
}
