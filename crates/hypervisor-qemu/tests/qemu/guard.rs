//! The guard, spoken to as the server does, and then left alone.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use hypervisor::{Baseline, CaptureOutcome, Chain, Hypervisor};
use serde_json::json;

use crate::{
    guest_agent::{Behaviour, GuestAgent},
    machine::{Disk, Machine},
};

struct TestGuard {
    process: Child,
    orders: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
}

impl TestGuard {
    fn start(machine: &Machine) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_capture-guard"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let reports = BufReader::new(process.stdout.take().unwrap());
        let mut guard = Self { orders: process.stdin.take(), process, reports };
        let dir = machine.dir.path();
        let setup = json!({
            "agent": dir.join("agent.sock"),
            "monitors": [dir.join("qmp.sock")],
            "ledger": dir.join("ledger.json"),
        });
        assert_eq!(guard.order(&setup), "\"ready\"");
        guard
    }

    fn order(&mut self, order: &serde_json::Value) -> String {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
        self.report()
    }

    fn report(&mut self) -> String {
        let mut line = String::new();
        self.reports.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// What happens to the guard when the server is killed.
    fn lose_server(&mut self) {
        self.orders = None;
    }
}

fn start() -> (Machine, GuestAgent) {
    let machine = Machine::start(&[Disk::qcow2("vroot")]);
    let agent = GuestAgent::listen(&machine.dir.path().join("agent.sock"), Behaviour::default());
    (machine, agent)
}

#[test]
fn thaws_and_resumes_when_the_server_dies() {
    let (mut machine, agent) = start();
    let mut guard = TestGuard::start(&machine);
    assert!(guard.order(&json!({"freeze": {"limit_ms": 60_000}})).contains("\"file_systems\":2"));
    assert!(guard.order(&json!("pausing")).contains("noted"));
    machine.execute("stop", json!({}));
    assert!(agent.is_frozen());

    guard.lose_server();
    agent.wait_for_thaws(1);
    assert!(guard.process.wait().unwrap().success());
    assert!(!agent.is_frozen());
    assert_eq!(machine.status(), "running");
}

#[test]
fn thaws_by_itself_when_the_limit_has_passed_and_says_so_later() {
    let (machine, agent) = start();
    let mut guard = TestGuard::start(&machine);
    guard.order(&json!({"freeze": {"limit_ms": 200}}));
    agent.wait_for_thaws(1);
    let report = guard.order(&json!("thaw"));
    assert!(report.contains("the freeze limit passed"), "{report}");
}

#[test]
fn survives_the_signals_that_end_a_servers_group_and_thaws_on_them() {
    let (machine, agent) = start();
    let mut guard = TestGuard::start(&machine);
    guard.order(&json!({"freeze": {"limit_ms": 60_000}}));
    let process = rustix::process::Pid::from_child(&guard.process);
    assert_eq!(rustix::process::getsid(Some(process)).unwrap(), process, "leads a session of its own");
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    agent.wait_for_thaws(1);
    assert!(guard.process.wait().unwrap().success());
}

#[test]
fn leaves_a_vm_alone_that_it_was_not_told_about() {
    let (mut machine, agent) = start();
    let mut guard = TestGuard::start(&machine);
    machine.execute("stop", json!({}));
    guard.lose_server();
    guard.process.wait().unwrap();
    assert_eq!(machine.status(), "paused");
    assert_eq!(agent.freezes(), 0);
}

/// When server and guard both die, the ledger is what is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_server_undoes_what_both_left_undone() {
    let (mut machine, agent) = start();
    machine.agent = Some(machine.dir.path().join("agent.sock"));
    let mut guard = TestGuard::start(&machine);
    guard.order(&json!({"freeze": {"limit_ms": 60_000}}));
    guard.process.kill().unwrap();
    guard.process.wait().unwrap();
    machine.execute("stop", json!({}));
    let dir = machine.dir.path().join("run").join(machine.vm_id.as_str());
    fs::create_dir_all(&dir).unwrap();
    let ledger =
        json!({"capture-id": crate::machine::capture_id(1), "frozen": true, "paused": true, "files": []});
    fs::write(dir.join("ledger.json"), ledger.to_string()).unwrap();

    let done =
        machine.hypervisor.recover(&machine.access(), Chain::Backup, &Baseline::default()).await.unwrap();
    assert_eq!(done.len(), 2, "{done:?}");
    assert!(!agent.is_frozen());
    assert_eq!(machine.status(), "running");
    machine
        .hypervisor
        .capture(machine.request(2, None))
        .await
        .unwrap()
        .finish(CaptureOutcome::Kept)
        .await
        .unwrap();
}
