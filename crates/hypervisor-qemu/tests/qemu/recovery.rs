//! After the death of a Holdfast that held a VM.

use std::{sync::Arc, time::Duration};

use hypervisor::{Baseline, CaptureOutcome, CapturePhase, CaptureRequest, Chain, Hypervisor};
use hypervisor_qemu::QemuHypervisor;

use model::Consistency;
use tokio::sync::Notify;

use crate::{
    guest_agent::{Behaviour, GuestAgent},
    machine::{Disk, Machine, bitmap_name, blocks, changes_of, committed, config},
};

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
    machine.write("vroot", 0, 65536, 0x01);
    drop(machine.hypervisor.capture(machine.request(2, Some(1))).await.unwrap());
    machine.write("vroot", 2 * 65536, 65536, 0x02);
    assert!(!machine.leftovers().is_empty());

    machine.hypervisor = QemuHypervisor::new(config(machine.dir.path()));
    let done = machine.hypervisor.recover(&machine.access(), Chain::Backup, &committed(1)).await.unwrap();
    assert!(!done.is_empty());
    assert_eq!(machine.leftovers(), [""; 0]);
    assert_eq!(machine.bitmaps("vroot"), [bitmap_name(1, "vroot")]);
    let again = machine.hypervisor.recover(&machine.access(), Chain::Backup, &committed(1)).await.unwrap();
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
    machine.write("vroot", 0, 65536, 0x01);
    drop(machine.hypervisor.capture(machine.request(2, Some(1))).await.unwrap());
    machine.write("vroot", 65536, 65536, 0x02);

    let third = machine.hypervisor.capture(machine.request(3, Some(2))).await.unwrap();
    assert_eq!(changes_of(&third.disks()[0]).await, [blocks(1, 1)]);
    third.finish(CaptureOutcome::Kept).await.unwrap();
    assert_eq!(machine.bitmaps("vroot"), [bitmap_name(3, "vroot")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_is_cancelled_while_the_guest_freezes_leaves_it_thawed_and_running() {
    let mut machine = Machine::start(&[Disk::qcow2("vroot")]);
    let path = machine.dir.path().join("agent.sock");
    let agent = GuestAgent::listen(&path, Behaviour { hangs_in_freeze: true, ..Behaviour::default() });
    machine.agent = Some(path);
    let freezing = Arc::new(Notify::new());
    let notify = freezing.clone();
    let request = CaptureRequest {
        consistency: Consistency::Application,
        freeze_limit: Duration::from_secs(30),
        on_phase: Arc::new(move |phase| {
            if phase == CapturePhase::Freezing {
                notify.notify_one();
            }
        }),
        ..machine.request(1, None)
    };
    tokio::select! {
        captured = machine.hypervisor.capture(request) => panic!("captured: {}", captured.is_ok()),
        () = freezing.notified() => {}
    }

    let (access, hypervisor) = (machine.access(), &machine.hypervisor);
    let recovered = async { hypervisor.recover(&access, Chain::Backup, &Baseline::default()).await.unwrap() };
    let let_go = async { agent.let_go() };
    tokio::join!(recovered, let_go);
    assert!(!agent.is_frozen());
    assert_eq!(machine.status(), "running");
    assert_eq!(machine.leftovers(), [""; 0]);
    assert_eq!(machine.bitmaps("vroot"), [""; 0]);
}
