//! The tap as a process: it outlives who launched it, and never a guest's patience.

use std::{ffi::OsString, fs, time::Duration};

use image::ErrorKind;
use journal::At;
use rustix::process::{Pid, Signal, kill_process};
use tap::{Client, TapOptions};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::fixture::{LONG, MIB, Target, add_whole, connect, options, until, vm};

/// A tap in a process of its own, which ends with the test.
struct Launched {
    client: Client,
    options: TapOptions,
    folder: TempDir,
}

fn command() -> Vec<OsString> {
    vec![env!("CARGO_BIN_EXE_journal-tap").into()]
}

impl Launched {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let options = options(&folder);
        let client = tap::launch(&command(), &options).await.expect("it starts");
        Self { client, options, folder }
    }

    fn signal(&self, signal: Signal) {
        signal_process(self.client.process_id(), signal);
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        // It ends by itself otherwise, if a test has not ended it already.
        let worker = i32::try_from(self.client.process_id()).ok().and_then(Pid::from_raw);
        let _ = worker.map(|worker| kill_process(worker, Signal::KILL));
    }
}

fn signal_process(number: u32, signal: Signal) {
    let process = i32::try_from(number).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(process, signal).expect("it lives");
}

fn parent_of(process: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it lives");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("it has a parent");
    parent.trim().parse().expect("a number")
}

/// Whether a process has ended; one that nobody has asked after yet has.
fn has_ended(process: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { return true };
    stat.rsplit(") ").next().is_none_or(|rest| rest.starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_is_found_again_by_its_socket() {
    let launched = Launched::start().await;
    let disk = add_whole(&launched.client, vm(1), "root", MIB).await;
    let again = tap::launch(&command(), &launched.options).await.unwrap();
    assert_eq!(again.process_id(), launched.client.process_id());
    assert_ne!(again.process_id(), std::process::id());
    assert_eq!(again.status().await.unwrap().disks[0].export, disk.export);
    let worker = launched.client.process_id();
    let session = rustix::process::getsid(Pid::from_raw(worker as i32)).unwrap();
    assert_eq!(session.as_raw_nonzero().get() as u32, parent_of(worker), "it has a session of its own");
    let adjustment = fs::read_to_string(format!("/proc/{worker}/oom_score_adj")).unwrap();
    assert_eq!(adjustment.trim(), "500");
    let mut other = launched.options.clone();
    other.journal_id = model::JournalId::from_random([2; 10]);
    assert_eq!(tap::launch(&command(), &other).await.unwrap_err().kind(), tap::ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_launch_at_once_get_one_tap() {
    let folder = TempDir::new().unwrap();
    let options = options(&folder);
    let command = command();
    let (first, second) = tokio::join!(tap::launch(&command, &options), tap::launch(&command, &options));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.process_id(), second.process_id());
    first.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stands_still_is_killed_and_the_guest_goes_on() {
    let launched = Launched::start().await;
    let disk = add_whole(&launched.client, vm(1), "root", MIB).await;
    let guest = connect(&launched.options, &disk.export).await.unwrap();
    guest.write(0, vec![1; 4096]).await.unwrap();
    let taken = launched.client.status().await.unwrap().usage.taken_through;
    launched.client.durable(taken).await.unwrap();
    launched.signal(Signal::STOP);
    // Some may be taken before the signal has come through.
    let written = async {
        loop {
            if let Err(error) = guest.write(4096, vec![2; 4096]).await {
                return error;
            }
        }
    };
    let error = timeout(LONG, written).await.expect("it ends");
    assert_eq!(error.kind(), ErrorKind::Gone, "{error}");
    let gone = launched.client.status().await.unwrap_err();
    assert_eq!(gone.kind(), tap::ErrorKind::Gone);

    let again = tap::launch(&command(), &launched.options).await.unwrap();
    let status = again.status().await.unwrap();
    assert_ne!(status.process_id, launched.client.process_id());
    assert!(!status.disks[0].is_whole, "a new epoch has begun");
    let mut target = Target::new();
    target.ship(&again, taken).await;
    assert!(target.read(vm(1), disk.number, At::Sequence(taken)).await[..4096] == [1; 4096]);
    again.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_is_launched_again_with_what_was_durable() {
    let launched = Launched::start().await;
    let disk = add_whole(&launched.client, vm(1), "root", MIB).await;
    let guest = connect(&launched.options, &disk.export).await.unwrap();
    for number in 0..64 {
        guest.write(number * 4096, vec![number as u8; 4096]).await.unwrap();
    }
    let taken = launched.client.status().await.unwrap().usage.taken_through;
    let durable = launched.client.durable(taken).await.unwrap();
    let parent = parent_of(launched.client.process_id());
    launched.signal(Signal::KILL);
    until("the guest goes on", || async { guest.flush().await.is_err() }).await;
    until("the parent ends too", || async { has_ended(parent) }).await;
    let again = tap::launch(&command(), &launched.options).await.unwrap();
    let status = again.status().await.unwrap();
    assert!(status.usage.durable_through >= durable && status.disks[0].epoch.0 > durable);
    assert_eq!(
        again.disk_is_whole(disk.number, disk.epoch).await.unwrap_err().kind(),
        tap::ErrorKind::Superseded
    );
    let mut target = Target::new();
    target.ship(&again, status.usage.taken_through).await;
    let shown = target.read(vm(1), disk.number, At::Latest).await;
    assert!(shown.chunks(4096).take(64).enumerate().all(|(number, block)| block == [number as u8; 4096]));
    let log = fs::read_to_string(launched.folder.path().join("tap/log")).unwrap();
    assert!(!log.contains("is killed"), "nobody but the test has killed it: {log}");
    again.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_ends_with_its_parent() {
    let launched = Launched::start().await;
    let disk = add_whole(&launched.client, vm(1), "root", MIB).await;
    let guest = connect(&launched.options, &disk.export).await.unwrap();
    signal_process(parent_of(launched.client.process_id()), Signal::KILL);
    until("the guest goes on", || async { guest.write(0, vec![1; 512]).await.is_err() }).await;
    until("the worker ends", || async { has_ended(launched.client.process_id()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_was_told_to_end_ends_in_order() {
    let launched = Launched::start().await;
    let disk = add_whole(&launched.client, vm(1), "root", MIB).await;
    let guest = connect(&launched.options, &disk.export).await.unwrap();
    guest.write(0, vec![1; 512]).await.unwrap();
    let taken = launched.client.status().await.unwrap().usage.taken_through;
    let (worker, parent) = (launched.client.process_id(), parent_of(launched.client.process_id()));
    launched.signal(Signal::TERM);
    until("both end", || async { has_ended(worker) && has_ended(parent) }).await;
    let again = tap::launch(&command(), &launched.options).await.unwrap();
    assert!(again.status().await.unwrap().usage.durable_through >= taken, "everything was durable");
    again.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_full_length_is_no_stall() {
    let launched = Launched::start().await;
    let disk = add_whole(&launched.client, vm(1), "root", MIB).await;
    let guest = connect(&launched.options, &disk.export).await.unwrap();
    for _ in 0..3 {
        let held = launched.client.hold(Duration::from_millis(tap::HOLD_MS_MAX)).await.unwrap();
        timeout(LONG, guest.write(0, vec![1; 512])).await.unwrap().unwrap();
        launched.client.let_go(held).await.unwrap();
    }
    assert!(launched.client.status().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_is_told_of_and_does_not_start() {
    let launched = Launched::start().await;
    add_whole(&launched.client, vm(1), "root", MIB).await;
    launched.client.shut_down().await.unwrap();
    let segment = launched.options.journal_folder().join("segment-0000000000000001");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[8] ^= 0xff;
    fs::write(&segment, bytes).unwrap();
    let error = tap::launch(&command(), &launched.options).await.unwrap_err();
    assert_eq!(error.kind(), tap::ErrorKind::Corrupt, "{error}");
    let missing = tap::launch(&["/nowhere/at/all".into()], &launched.options).await.unwrap_err();
    assert_eq!(missing.kind(), tap::ErrorKind::NotFound);
}
