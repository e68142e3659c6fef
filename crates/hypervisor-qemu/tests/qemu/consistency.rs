//! How consistent a capture is, and how it is known.

use std::{fs, time::Duration};

use hypervisor::{AgentState, CaptureOutcome, CaptureRequest, ErrorKind, Hypervisor};
use model::Consistency;

use crate::{
    guest_agent::{Behaviour, GuestAgent},
    machine::{Disk, Machine},
};

fn start(behaviour: Behaviour) -> (Machine, GuestAgent) {
    let mut machine = Machine::start(&[Disk::qcow2("vroot")]);
    let path = machine.dir.path().join("agent.sock");
    let agent = GuestAgent::listen(&path, behaviour);
    machine.agent = Some(path);
    (machine, agent)
}

fn application(machine: &Machine) -> CaptureRequest {
    CaptureRequest { consistency: Consistency::Application, ..machine.request(1, None) }
}

#[tokio::test(flavor = "multi_thread")]
async fn application_where_the_hook_proves_it() {
    let (machine, agent) = start(Behaviour { hook: true, ..Behaviour::default() });
    let capture = machine.hypervisor.capture(application(&machine)).await.unwrap();
    let consistency = &capture.facts().consistency;
    assert_eq!((consistency.reached, consistency.shortfall.as_deref()), (Consistency::Application, None));
    assert!(capture.cost().await.freeze_us.is_some());
    assert!(!agent.is_frozen(), "the guest runs on while the moment is read");
    capture.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn application_on_windows_whose_freeze_is_a_shadow_copy() {
    let (machine, _agent) = start(Behaviour { windows: true, ..Behaviour::default() });
    let capture = machine.hypervisor.capture(application(&machine)).await.unwrap();
    assert_eq!(capture.facts().consistency.reached, Consistency::Application);
    capture.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn file_system_without_a_hook_and_the_point_says_so() {
    let (machine, _agent) = start(Behaviour::default());
    let capture = machine.hypervisor.capture(application(&machine)).await.unwrap();
    let consistency = &capture.facts().consistency;
    assert_eq!(consistency.reached, Consistency::FileSystem);
    assert!(consistency.shortfall.as_deref().unwrap().contains(hypervisor_qemu::guard::MARKER));
    capture.finish(CaptureOutcome::Kept).await.unwrap();

    let request =
        CaptureRequest { consistency: Consistency::FileSystem, strict: true, ..machine.request(2, Some(1)) };
    let capture = machine.hypervisor.capture(request).await.unwrap();
    assert_eq!(capture.facts().consistency.shortfall, None);
    capture.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_refuses_less_and_leaves_nothing() {
    let (mut machine, agent) = start(Behaviour::default());
    let request = CaptureRequest { strict: true, ..application(&machine) };
    let error = machine.hypervisor.capture(request).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Consistency, "{error}");
    assert!(!agent.is_frozen());
    assert_eq!(machine.leftovers(), [""; 0]);
    assert_eq!(machine.bitmaps("vroot"), [""; 0]);
    assert_eq!(machine.status(), "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_where_no_agent_answers() {
    let (machine, agent) = start(Behaviour { silent: true, ..Behaviour::default() });
    let inspection = machine.hypervisor.inspect(&machine.access()).await.unwrap();
    assert!(matches!(inspection.agent, AgentState::Silent(_)), "{:?}", inspection.agent);
    let capture = machine.hypervisor.capture(application(&machine)).await.unwrap();
    let consistency = &capture.facts().consistency;
    assert_eq!(consistency.reached, Consistency::Crash);
    assert!(consistency.shortfall.as_deref().unwrap().contains("did not answer"));
    assert_eq!(agent.freezes(), 0);
    capture.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_asks_the_guest_for_nothing() {
    let (machine, agent) = start(Behaviour::default());
    let capture = machine.hypervisor.capture(machine.request(1, None)).await.unwrap();
    assert_eq!(agent.freezes(), 0);
    capture.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_that_hangs_costs_its_limit_and_is_thawed_when_it_comes_back() {
    let (machine, agent) = start(Behaviour { hangs_in_freeze: true, ..Behaviour::default() });
    let request = CaptureRequest { freeze_limit: Duration::from_millis(300), ..application(&machine) };
    let capture = machine.hypervisor.capture(request).await.unwrap();
    assert_eq!(capture.facts().consistency.reached, Consistency::Crash);
    agent.let_go();
    agent.wait_for_thaws(1);
    capture.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_where_somebody_else_thawed_the_guest_before() {
    let (machine, _agent) = start(Behaviour { hook: true, thawed_by_others: true, ..Behaviour::default() });
    let capture = machine.hypervisor.capture(application(&machine)).await.unwrap();
    let consistency = &capture.facts().consistency;
    assert_eq!(consistency.reached, Consistency::Crash);
    assert!(consistency.shortfall.as_deref().unwrap().contains("nothing left to thaw"));
    capture.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thaw_without_an_answer_proves_nothing_and_stays_owed() {
    let (machine, agent) = start(Behaviour { refuses_thaw: true, ..Behaviour::default() });
    let capture = machine.hypervisor.capture(application(&machine)).await.unwrap();
    let consistency = &capture.facts().consistency;
    assert_eq!(consistency.reached, Consistency::Crash);
    assert!(consistency.shortfall.as_deref().unwrap().contains("not now"), "{:?}", consistency.shortfall);
    let ledger = machine.dir.path().join("run").join(machine.vm_id.as_str()).join("ledger.json");
    assert!(fs::read_to_string(ledger).unwrap().contains("\"frozen\":true"));
    agent.let_go();
    agent.wait_for_thaws(1);
    capture.finish(CaptureOutcome::Kept).await.unwrap();
}
