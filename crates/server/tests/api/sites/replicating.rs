//! VMs whose every write goes to another site.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use api::{
    CheckStatus, Code, EditReplication, FailOver, ImageQuery, JobResult, MakeCheckpoint, ReplicationHealth,
    ReplicationState, ReplicationView, StartReplication, StopReplication,
};
use hypervisor::Power;
use model::{ByteCount, Consistency};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::{pair, site};
use crate::{
    disks::shows,
    site::{TestSite, code, pattern, problem},
};

/// What a busy machine may take until something is as it must become.
const PATIENCE: Duration = Duration::from_secs(60);

fn to_east() -> StartReplication {
    serde_json::from_value(serde_json::json!({"to": "east"})).unwrap()
}

/// East keeps what west has; the VM db of west is on its way.
pub(super) async fn replicated() -> (TestSite, TestSite) {
    let (east, west) = (site("east").await, site("west").await);
    pair(&east, &west).await;
    west.add_guest("db", pattern(1)).await;
    west.client.start_replication("db", &to_east()).await.unwrap();
    (east, west)
}

/// Waits until the replication of db is like this.
pub(super) async fn until(
    site: &TestSite,
    what: &str,
    holds: impl Fn(&ReplicationView) -> bool,
) -> ReplicationView {
    let waiting = async {
        loop {
            let view = site.client.replication("db").await.unwrap();
            if holds(&view) {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(view) => view,
        Err(_) => panic!("it never came to this: {what}; it is {:?}", site.client.replication("db").await),
    }
}

pub(super) async fn until_protected(site: &TestSite) -> ReplicationView {
    until(site, "protected", |view| view.state == ReplicationState::Protected).await
}

pub(super) fn guest(site: &TestSite) -> PathBuf {
    site.path("db")
}

/// Names a moment, and waits until the other site has it.
pub(super) async fn bookmark(east: &TestSite, west: &TestSite, name: &str) -> Vec<u8> {
    let request = MakeCheckpoint { name: name.to_owned(), application: false };
    west.client.make_checkpoint("db", &request).await.unwrap();
    let reference = format!("replica:db/{name}");
    let reading = async {
        loop {
            match read(east, &reference).await {
                Some(bytes) => return bytes,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let read = tokio::time::timeout(PATIENCE, reading).await;
    match read {
        Ok(bytes) => bytes,
        Err(_) => panic!("{name} never came: {:?}", west.client.replication("db").await),
    }
}

/// What a moment of a replica holds; none where there is no such moment.
pub(super) async fn read(site: &TestSite, reference: &str) -> Option<Vec<u8>> {
    let mut data = site.client.image_data(ImageQuery { reference, from_copy: None }).await.ok()?;
    let mut bytes = Vec::new();
    while let Some(piece) = data.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    Some(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_arrives_and_each_named_moment_is_what_it_was() {
    let (east, west) = replicated().await;
    let qmp = guest(&west);
    west.hypervisor.write_through(&qmp, 5120, &[7; 1024]).await;
    let view = until_protected(&west).await;
    assert_eq!((view.breaks, view.site.as_str()), (0, "east"));
    let mut moments = Vec::new();
    for number in 0..4_u8 {
        west.hypervisor.write_through(&qmp, 4096 * usize::from(number), &[number; 9216]).await;
        let expected = west.hypervisor.bytes(&qmp);
        let name = format!("m{number}");
        assert!(bookmark(&east, &west, &name).await == expected, "{name}");
        moments.push((name, expected));
    }
    for (name, expected) in moments {
        assert!(read(&east, &format!("replica:db/{name}")).await.unwrap() == expected, "{name}, later");
    }
    let view = until(&west, "a checkpoint there", |view| view.rpo_seconds.is_some()).await;
    assert_eq!(view.health, ReplicationHealth::Ok, "{:?}", view.reasons);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_tap_reads_again_what_was_missed_and_earlier_moments_stay() {
    let (east, west) = replicated().await;
    let qmp = guest(&west);
    until_protected(&west).await;
    let before = bookmark(&east, &west, "before").await;
    // What the journal durably has is trusted from now on.
    until(&west, "in sync", |view| view.lag_bytes == 0).await;
    west.hypervisor.break_tap(&qmp, "the test broke it");
    west.hypervisor.write_through(&qmp, 1 << 20, &[9; 4096]).await;
    let view = until(&west, "broken and protected again", |view| {
        view.breaks == 1 && view.state == ReplicationState::Protected
    })
    .await;
    assert!(view.why.is_none(), "{view:?}");
    let after = bookmark(&east, &west, "after").await;
    assert!(after == west.hypervisor.bytes(&qmp) && after != before);
    assert!(read(&east, "replica:db/before").await.unwrap() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_is_killed_is_launched_again() {
    let (east, west) = replicated().await;
    let qmp = guest(&west);
    until_protected(&west).await;
    west.hypervisor.kill_taps();
    west.hypervisor.write_through(&qmp, 2 << 20, &[3; 8192]).await;
    until(&west, "broken and protected again", |view| {
        view.breaks >= 1 && view.state == ReplicationState::Protected
    })
    .await;
    assert!(bookmark(&east, &west, "after").await == west.hypervisor.bytes(&qmp));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_stops_and_starts_is_taken_up_again() {
    let (east, west) = replicated().await;
    let qmp = guest(&west);
    until_protected(&west).await;
    west.hypervisor.edit(&qmp, |vm| vm.power = Power::Stopped);
    let view = until(&west, "stopped", |view| view.state == ReplicationState::VmStopped).await;
    assert_eq!((view.breaks, view.health), (0, ReplicationHealth::Ok));
    west.hypervisor.edit(&qmp, |vm| vm.power = Power::Running);
    west.hypervisor.write_through(&qmp, 0, &[5; 512]).await;
    until_protected(&west).await;
    assert!(bookmark(&east, &west, "after").await == west.hypervisor.bytes(&qmp));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_again_goes_on_and_so_does_the_other_site() {
    let (east, west) = replicated().await;
    let qmp = guest(&west);
    until_protected(&west).await;
    let west = west.restart().await;
    west.hypervisor.write_through(&qmp, 3 << 20, &[4; 4096]).await;
    until_protected(&west).await;
    assert!(bookmark(&east, &west, "one").await == west.hypervisor.bytes(&qmp));
    let east = east.restart().await;
    west.hypervisor.write_through(&qmp, 4 << 20, &[6; 4096]).await;
    assert!(bookmark(&east, &west, "two").await == west.hypervisor.bytes(&qmp));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_other_site_is_away_writes_are_kept_and_sent_later() {
    let (east, west) = replicated().await;
    let qmp = guest(&west);
    until_protected(&west).await;
    until(&west, "in sync", |view| view.lag_bytes == 0).await;
    let (clock, peers) = (east.clock.clone(), east.peers.clone());
    let address: std::net::SocketAddr =
        east.client.site().await.unwrap().peer_address.unwrap().parse().unwrap();
    let left = east.stop().await;
    let data: Vec<u8> = pattern(5).into_iter().take(1 << 20).collect();
    west.hypervisor.write_through(&qmp, 0, &data).await;
    until(&west, "behind", |view| view.lag_bytes > 1 << 20).await;
    let peers = server::PeerConfig { listen: Some(address.into()), ..peers };
    let east = TestSite::start_again(left, clock, peers).await;
    assert!(bookmark(&east, &west, "after").await == west.hypervisor.bytes(&qmp));
    let view = until(&west, "in sync", |view| view.lag_bytes == 0).await;
    assert_eq!(view.breaks, 0, "nothing was missed");
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_it_takes_nothing_and_resumed_what_was_missed() {
    let (east, west) = replicated().await;
    let qmp = guest(&west);
    until_protected(&west).await;
    let paused = west.client.pause_replication("db").await.unwrap();
    assert_eq!((paused.state, paused.health), (ReplicationState::Paused, ReplicationHealth::Warning));
    let request = MakeCheckpoint { name: "no".to_owned(), application: false };
    assert_eq!(code(west.client.make_checkpoint("db", &request).await), Code::Conflict);
    let west = west.restart().await;
    assert_eq!(west.client.replication("db").await.unwrap().state, ReplicationState::Paused);
    west.hypervisor.write_through(&qmp, 1 << 20, &[8; 4096]).await;
    west.client.resume_replication("db").await.unwrap();
    until_protected(&west).await;
    assert!(bookmark(&east, &west, "after").await == west.hypervisor.bytes(&qmp));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wanted_can_change_and_is_told() {
    let (_east, west) = replicated().await;
    until_protected(&west).await;
    let edit = EditReplication {
        retention_hours: Some(48),
        rate_limit_bytes_per_second: Some(ByteCount(1 << 20)),
        rate_windows: Some(vec!["08:00-18:00=full".parse().unwrap()]),
        ..EditReplication::default()
    };
    let view = west.client.edit_replication("db", &edit).await.unwrap();
    assert_eq!((view.retention_hours, view.rate_limit_bytes_per_second), (48, Some(1 << 20)));
    let edit =
        EditReplication { rate_limit_bytes_per_second: Some(ByteCount(0)), ..EditReplication::default() };
    assert_eq!(west.client.edit_replication("db", &edit).await.unwrap().rate_limit_bytes_per_second, None);
    let edit =
        EditReplication { journal_size_bytes: Some(ByteCount(128 << 20)), ..EditReplication::default() };
    west.client.edit_replication("db", &edit).await.unwrap();
    // A process would have ended by itself.
    west.hypervisor.kill_taps();
    until(&west, "another journal size", |view| {
        view.journal_size_bytes == 128 << 20 && view.state == ReplicationState::Protected && view.breaks == 1
    })
    .await;
    for edit in [
        EditReplication { retention_hours: Some(0), ..EditReplication::default() },
        EditReplication { application_every_seconds: Some(5), ..EditReplication::default() },
        EditReplication { journal_size_bytes: Some(ByteCount(1)), ..EditReplication::default() },
    ] {
        assert_eq!(code(west.client.edit_replication("db", &edit).await), Code::Invalid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_it_leaves_nothing_here_and_the_replica_there() {
    let (east, west) = replicated().await;
    until_protected(&west).await;
    bookmark(&east, &west, "kept").await;
    assert_eq!(code(west.client.start_replication("db", &to_east()).await), Code::Conflict);
    assert_eq!(code(west.client.remove_vm("db").await), Code::Conflict);
    assert_eq!(code(west.client.remove_peer("east").await), Code::Conflict);
    let stopped = west.client.stop_replication("db", &StopReplication::default()).await.unwrap();
    assert_eq!((stopped.is_told, stopped.problems), (true, Vec::new()));
    assert_eq!(code(west.client.replication("db").await), Code::NotFound);
    let left = west.path("journals").read_dir().unwrap().count();
    assert_eq!(left, 0);
    assert!(read(&east, "replica:db/kept").await.is_some());

    west.client.start_replication("db", &to_east()).await.unwrap();
    until(&west, "protected or refused", |view| {
        matches!(view.state, ReplicationState::Protected | ReplicationState::Degraded)
    })
    .await;
}

/// What a test may send of a disk that the other site has but for a page, with all marks.
const LITTLE_BYTES: u64 = 256 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn started_anew_it_sends_only_what_differs_from_the_earlier_replica() {
    let (east, west) = replicated().await;
    let qmp = guest(&west);
    until_protected(&west).await;
    let before = bookmark(&east, &west, "before").await;
    west.client.stop_replication("db", &StopReplication::default()).await.unwrap();
    west.hypervisor.write(&qmp, 1 << 20, &[9; 4096]);
    west.client.start_replication("db", &to_east()).await.unwrap();
    let view = until_protected(&west).await;
    assert!(view.seed.as_ref().is_some_and(|seed| seed.starts_with("replica:")), "{view:?}");
    assert_eq!(view.had_bytes, before.len() as u64 - (64 << 10), "all but a piece of 64 KiB");
    let after = bookmark(&east, &west, "after").await;
    assert!(after == west.hypervisor.bytes(&qmp) && after != before);
    let view = until(&west, "in sync", |view| view.lag_bytes == 0).await;
    assert!(view.sent_bytes < LITTLE_BYTES, "{view:?}");
    let earlier = east.client.replicas().await.unwrap();
    assert_eq!(earlier.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_of_which_nothing_was_tracked_is_compared_and_not_sent_again() {
    let (east, west) = replicated().await;
    let qmp = guest(&west);
    until_protected(&west).await;
    let before = until(&west, "in sync", |view| view.lag_bytes == 0).await;
    // As after a power cut, under a raw disk.
    west.hypervisor.break_tap_untracked(&qmp, "the test broke it");
    west.hypervisor.write(&qmp, 1 << 20, &[9; 4096]);
    let view = until(&west, "broken and protected again", |view| {
        view.breaks == 1 && view.state == ReplicationState::Protected
    })
    .await;
    let bytes = west.hypervisor.bytes(&qmp);
    assert_eq!((view.had_bytes, view.seed), (bytes.len() as u64 - (64 << 10), None));
    assert!(bookmark(&east, &west, "after").await == bytes);
    let view = until(&west, "in sync", |view| view.lag_bytes == 0).await;
    assert!(view.sent_bytes - before.sent_bytes < LITTLE_BYTES, "{view:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_that_the_other_site_does_not_give_is_refused_and_said() {
    let (east, west) = (site("east").await, site("west").await);
    pair(&east, &west).await;
    west.add_guest("db", pattern(1)).await;
    let seeded = |seed: &str| StartReplication { seed: Some(seed.to_owned()), ..to_east() };
    assert_eq!(code(west.client.start_replication("db", &seeded("nonsense")).await), Code::Invalid);
    west.client.start_replication("db", &seeded("file:/etc/passwd")).await.unwrap();
    let view = until(&west, "refused", |view| view.health == ReplicationHealth::Critical).await;
    assert!(view.reasons.iter().any(|reason| reason.what.contains("no file of this host")), "{view:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_over_there_it_is_fenced_here_for_good() {
    let (east, west) = replicated().await;
    until_protected(&west).await;
    bookmark(&east, &west, "last").await;
    let request = FailOver { point: "last".to_owned(), rate_limit_bytes_per_second: None };
    let job = east.client.fail_over("db", &request).await.unwrap();
    east.end(&job).await;
    west.hypervisor.write_through(&guest(&west), 0, &[1; 512]).await;
    let view = until(&west, "fenced", |view| view.state == ReplicationState::Fenced).await;
    assert!(view.health == ReplicationHealth::Critical && view.why.is_some(), "{view:?}");
    assert_eq!(code(west.client.resume_replication("db").await), Code::Fenced);
    let west = west.restart().await;
    assert_eq!(west.client.replication("db").await.unwrap().state, ReplicationState::Fenced);
}

#[tokio::test(flavor = "multi_thread")]
async fn handed_over_it_runs_there_with_its_last_write_and_not_here() {
    let (east, west) = replicated().await;
    let qmp = guest(&west);
    until_protected(&west).await;
    west.hypervisor.write_through(&qmp, 8192, &[9; 512]).await;
    let expected = west.hypervisor.bytes(&qmp);
    // The disk is looked at while it still reads from the moment.
    east.hypervisor.hydrations.close();
    let given = west.end(&west.client.hand_over("db", false).await.unwrap()).await;
    let Some(JobResult::HandedOver(given)) = given.result else { panic!("{given:?}") };
    assert_eq!(given.site, "east");
    assert_eq!(given.proof.map(|proof| proof.disks.len()), Some(1), "both sites have read the disk");
    let there = east.end(&east.client.job(&given.job_there.unwrap()).await.unwrap()).await;
    let Some(JobResult::RestoredVm(vm)) = there.result else { panic!("{there:?}") };
    assert!(vm.started && shows(&east, Path::new(&vm.disks[0].path), &expected));

    assert_eq!(west.client.vm("db").await.unwrap().power, "stopped");
    assert_eq!(code(west.client.start_vm("db").await), Code::Fenced);
    until(&west, "fenced", |view| view.state == ReplicationState::Fenced).await;
    // Whoever has not heard the answer asks again, also after a restart.
    let west = west.restart().await;
    let again = west.end(&west.client.hand_over("db", false).await.unwrap()).await;
    assert!(matches!(again.result, Some(JobResult::HandedOver(view)) if view.job_there.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_stopped_after_writes_were_missed_is_not_handed_over() {
    let (_east, west) = replicated().await;
    let qmp = guest(&west);
    until_protected(&west).await;
    west.hypervisor.edit(&qmp, |vm| vm.power = Power::Stopped);
    until(&west, "stopped", |view| view.state == ReplicationState::VmStopped).await;
    // A server that has just started has not seen how it ended.
    let west = west.restart().await;
    until(&west, "not known to be whole", |view| view.state == ReplicationState::Degraded).await;
    let refused = problem(west.client.hand_over("db", false).await);
    assert!(refused.code == Code::Conflict && refused.hint.unwrap().contains("until it is protected"));
    west.hypervisor.edit(&qmp, |vm| vm.power = Power::Running);
    until_protected(&west).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_other_site_refuses_stays_here() {
    let (east, west) = replicated().await;
    east.add_guest("db", pattern(2)).await;
    until_protected(&west).await;
    let refused = west.failure(&west.client.hand_over("db", false).await.unwrap()).await;
    assert!(refused.code == Code::Conflict && refused.detail.contains("there is a VM db"), "{refused:?}");
    assert_eq!(
        west.client.vm("db").await.unwrap().power,
        "running",
        "it is asked before the guest is shut down"
    );
    let view = until_protected(&west).await;
    assert_ne!(view.state, ReplicationState::Fenced);
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_hold_still_by_command_and_by_schedule() {
    let (_east, west) = replicated().await;
    let qmp = guest(&west);
    west.hypervisor.edit(&qmp, |vm| vm.consistency = Consistency::Application);
    until_protected(&west).await;
    let request = MakeCheckpoint { name: "quiet".to_owned(), application: true };
    let made = west.client.make_checkpoint("db", &request).await.unwrap();
    assert_eq!((made.kind.as_str(), made.name.as_str()), ("application", "quiet"));
    let before = west.client.replication("db").await.unwrap().application_checkpoint_at.unwrap();
    let edit = EditReplication { application_every_seconds: Some(3600), ..EditReplication::default() };
    west.client.edit_replication("db", &edit).await.unwrap();
    until(&west, "one by schedule", |view| view.application_checkpoint_at > Some(before)).await;
    west.hypervisor.edit(&qmp, |vm| vm.consistency = Consistency::Crash);
    assert_eq!(code(west.client.make_checkpoint("db", &request).await), Code::Consistency);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_and_prometheus_are_told() {
    let (_east, west) = replicated().await;
    until_protected(&west).await;
    west.client.pause_replication("db").await.unwrap();
    let checks = west.client.doctor().await.unwrap();
    let check = checks.iter().find(|check| check.name == "replication of db").unwrap();
    assert_eq!((check.status, check.detail.as_str()), (CheckStatus::Warning, "paused"));
    let list = west.client.replications().await.unwrap();
    assert_eq!(list.iter().map(|view| view.vm.as_str()).collect::<Vec<_>>(), ["db"]);
    let mut stream = UnixStream::connect(api::socket_path(west.directory.path())).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("holdfast_replication_health{vm=\"db\",site=\"east\"} 1"), "{answer}");
}
