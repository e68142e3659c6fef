//! VMs of which only what was written is copied, now and then: each epoch is one moment, and nothing else is shown.

use std::{path::Path, time::Duration};

use api::{
    AddGroupMember, Code, CreateReplicationGroup, EditReplication, JobResult, MakeCheckpoint,
    ReplicationHealth, ReplicationState, StartReplication, StopReplication,
};
use hypervisor::{Baseline, Chain, FakeDisk, Power};
use model::{Consistency, DiskName, Timestamp};

use super::{
    pair,
    replicating::{guest, read, until, until_protected},
    site,
};
use crate::{
    disks::shows,
    site::{TestSite, code, pattern, problem},
};

/// The interval is an hour: what happens is asked for.
fn hourly() -> StartReplication {
    serde_json::from_value(serde_json::json!({"to": "east", "interval_seconds": 3600})).unwrap()
}

async fn replicated() -> (TestSite, TestSite) {
    let (east, west) = (site("east").await, site("west").await);
    pair(&east, &west).await;
    west.add_guest("db", pattern(1)).await;
    west.client.start_replication("db", &hourly()).await.unwrap();
    let view = until_protected(&west).await;
    assert_eq!(view.interval_seconds, Some(3600));
    (east, west)
}

/// What the guest's disk holds at the moment of the epoch that is made now, once the other site has it.
async fn next(west: &TestSite) -> Vec<u8> {
    let is_there = |before: Option<Timestamp>| {
        move |view: &api::ReplicationView| {
            view.state == ReplicationState::Protected && view.newest_checkpoint_at > before
        }
    };
    let before = until(west, "the last one there", is_there(None)).await.newest_checkpoint_at;
    let bytes = west.hypervisor.bytes(&guest(west));
    west.client.resume_replication("db").await.unwrap();
    until(west, "one more", is_there(before)).await;
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn each_epoch_is_one_moment_and_none_between_is_shown() {
    let (east, west) = replicated().await;
    let qmp = guest(&west);
    let mut moments = vec![west.hypervisor.bytes(&qmp)];
    for number in 1..4_u8 {
        // Two places, in two requests, so that there is something between.
        west.hypervisor.write(&qmp, 4096 * usize::from(number), &[number; 512]);
        west.hypervisor.write(&qmp, (6 << 20) + 4096 * usize::from(number), &[number; 512]);
        moments.push(next(&west).await);
        assert!(read(&east, "replica:db/latest").await.as_ref() == moments.last(), "moment {number}");
    }
    // What is written after a moment is not in it.
    west.hypervisor.write(&qmp, 0, &[99; 512]);
    assert!(read(&east, "replica:db/latest").await.as_ref() == moments.last());
    let mut shown = Vec::new();
    for record in 1..200 {
        let Some(bytes) = read(&east, &format!("replica:db/#{record}")).await else { continue };
        let moment = moments.iter().position(|moment| *moment == bytes);
        shown.push(moment.unwrap_or_else(|| panic!("record {record} shows what was at no moment")));
    }
    shown.dedup();
    assert_eq!(shown, [0, 1, 2, 3]);
    let view = west.client.replication("db").await.unwrap();
    assert_eq!((view.health, view.breaks), (ReplicationHealth::Ok, 0), "{:?}", view.reasons);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_reads_only_what_was_written_and_has_the_time_of_its_moment() {
    let (east, west) = replicated().await;
    let qmp = guest(&west);
    let before = until(&west, "in sync", |view| view.lag_bytes == 0).await;
    west.hypervisor.write(&qmp, 1 << 20, &[9; 4096]);
    let asked_at = west.hypervisor.bytes(&qmp);
    west.hypervisor.held.close();
    west.client.resume_replication("db").await.unwrap();
    // The moment is held already, and not copied.
    let held = tokio::time::timeout(Duration::from_secs(60), async {
        while west.hypervisor.captures.load(std::sync::atomic::Ordering::Relaxed) < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    held.await.unwrap();
    let no_later_than = env::Clock::now(&env::SystemClock);
    tokio::time::sleep(Duration::from_millis(50)).await;
    west.hypervisor.write(&qmp, 1 << 20, &[10; 4096]);
    west.hypervisor.held.open();
    let newest = before.newest_checkpoint_at;
    let after = until(&west, "one more", |view| view.newest_checkpoint_at > newest).await;
    assert!(after.newest_checkpoint_at.unwrap() <= no_later_than, "{after:?}");
    assert!(read(&east, "replica:db/latest").await.unwrap() == asked_at);
    assert!(after.sent_bytes - before.sent_bytes < 256 << 10, "{after:?}");
    let points = east.client.replica_points("db", true).await.unwrap();
    assert!(points.last().unwrap().time <= no_later_than);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_epoch_lacks_is_in_the_next_one() {
    let (east, west) = replicated().await;
    let qmp = guest(&west);
    let whole = next(&west).await;
    west.hypervisor.write(&qmp, 1 << 20, &[5; 4096]);
    west.hypervisor.edit(&qmp, |vm| {
        vm.disks.values_mut().for_each(|disk| disk.reads_until_lost = Some(0));
    });
    west.client.resume_replication("db").await.unwrap();
    let view = until(&west, "failed", |view| view.state == ReplicationState::Degraded).await;
    assert!(view.why.is_some_and(|why| why.contains("could not be copied")));
    assert!(read(&east, "replica:db/latest").await.unwrap() == whole, "the moment before stays");
    west.hypervisor.write(&qmp, 2 << 20, &[6; 4096]);
    west.hypervisor.edit(&qmp, |vm| vm.disks.values_mut().for_each(|disk| disk.reads_until_lost = None));
    until_protected(&west).await;
    let bytes = next(&west).await;
    assert!(bytes[1 << 20] == 5 && bytes[2 << 20] == 6);
    assert!(read(&east, "replica:db/latest").await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_within_an_epoch_and_a_tap_that_does_lose_nothing() {
    let (east, west) = replicated().await;
    let qmp = guest(&west);
    let whole = next(&west).await;
    west.hypervisor.write(&qmp, 1 << 20, &[5; 64 << 10]);
    west.hypervisor.held.close();
    west.client.resume_replication("db").await.unwrap();
    west.hypervisor.held.reached().await;
    let west = west.restart().await;
    west.hypervisor.kill_taps();
    west.hypervisor.held.open();
    assert!(read(&east, "replica:db/latest").await.unwrap() == whole);
    west.hypervisor.write(&qmp_of(&west), 2 << 20, &[6; 4096]);
    until_protected(&west).await;
    let bytes = next(&west).await;
    assert!(bytes[1 << 20] == 5 && bytes[2 << 20] == 6);
    assert!(read(&east, "replica:db/latest").await.unwrap() == bytes);
}

fn qmp_of(site: &TestSite) -> std::path::PathBuf {
    guest(site)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_failover_brings_what_was_written_since_the_last_epoch() {
    let (east, west) = replicated().await;
    let qmp = guest(&west);
    west.hypervisor.write(&qmp, 1 << 20, &[5; 4096]);
    let expected = west.hypervisor.bytes(&qmp);
    // The disk is looked at while it still reads from the moment.
    east.hypervisor.hydrations.close();
    let given = west.end(&west.client.hand_over("db", false).await.unwrap()).await;
    let Some(JobResult::HandedOver(given)) = given.result else { panic!("{given:?}") };
    let there = east.end(&east.client.job(&given.job_there.unwrap()).await.unwrap()).await;
    let Some(JobResult::RestoredVm(vm)) = there.result else { panic!("{there:?}") };
    assert!(vm.started && shows(&east, Path::new(&vm.disks[0].path), &expected));
    assert_eq!(code(west.client.start_vm("db").await), Code::Fenced);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_has_ended_is_read_once_more_also_by_another_server() {
    let (east, west) = replicated().await;
    let qmp = guest(&west);
    west.hypervisor.write(&qmp, 1 << 20, &[5; 4096]);
    west.hypervisor.edit(&qmp, |vm| vm.power = Power::Stopped);
    let west = west.restart().await;
    until(&west, "stopped", |view| view.state == ReplicationState::VmStopped && view.lag_bytes == 0).await;
    assert!(read(&east, "replica:db/latest").await.unwrap() == west.hypervisor.bytes(&qmp));
    west.hypervisor.edit(&qmp, |vm| vm.power = Power::Running);
    west.hypervisor.write(&qmp, 2 << 20, &[6; 4096]);
    until_protected(&west).await;
    let bytes = next(&west).await;
    assert!(read(&east, "replica:db/latest").await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_come_grow_and_go_with_the_next_epoch() {
    let (east, west) = replicated().await;
    let (qmp, data) = (guest(&west), "data".parse::<DiskName>().unwrap());
    let root = west.client.vm("db").await.unwrap().disks[0].name.clone();
    let added = pattern(2)[..2 << 20].to_vec();
    west.hypervisor.edit(&qmp, |vm| drop(vm.disks.insert(data.clone(), FakeDisk::new(added.clone()))));
    next(&west).await;
    assert!(read(&east, "replica:db/latest/data").await.unwrap() == added);
    west.hypervisor.edit(&qmp, |vm| vm.disks.get_mut(&data).unwrap().bytes.resize(3 << 20, 0));
    next(&west).await;
    assert_eq!(read(&east, "replica:db/latest/data").await.unwrap().len(), 3 << 20);
    west.hypervisor.edit(&qmp, |vm| drop(vm.disks.remove(&data)));
    next(&west).await;
    let view = east.client.replica_moment("db", "latest").await.unwrap();
    assert_eq!(view.disks.into_iter().map(|disk| disk.name).collect::<Vec<_>>(), [root]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_is_one_for_applications_when_that_is_due() {
    let (east, west) = replicated().await;
    west.hypervisor.edit(&guest(&west), |vm| vm.consistency = Consistency::Application);
    let edit = EditReplication { application_every_seconds: Some(3600), ..EditReplication::default() };
    west.client.edit_replication("db", &edit).await.unwrap();
    next(&west).await;
    let view = west.client.replication("db").await.unwrap();
    assert!(
        view.application_checkpoint_at.is_some()
            && view.application_checkpoint_at == view.newest_checkpoint_at
    );
    assert!(read(&east, "replica:db/latest-application").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_every_write_is_refused_and_says_why() {
    let (_east, west) = replicated().await;
    let bookmark = MakeCheckpoint { name: "now".to_owned(), application: false };
    let refused = problem(west.client.make_checkpoint("db", &bookmark).await);
    assert!(refused.code == Code::Conflict && refused.detail.contains("at intervals"), "{refused:?}");
    let group =
        CreateReplicationGroup { name: "shop".to_owned(), vms: vec!["db".to_owned()], every_ms: None };
    let refused = problem(west.client.create_replication_group(&group).await);
    assert!(refused.code == Code::Conflict && refused.detail.contains("at intervals"), "{refused:?}");
    for seconds in [4, 86_401] {
        let edit = EditReplication { interval_seconds: Some(seconds), ..EditReplication::default() };
        assert_eq!(code(west.client.edit_replication("db", &edit).await), Code::Invalid);
    }
    let edit = EditReplication { interval_seconds: Some(60), ..EditReplication::default() };
    assert_eq!(west.client.edit_replication("db", &edit).await.unwrap().interval_seconds, Some(60));

    west.add_guest("web", pattern(2)).await;
    let tapped = StartReplication { interval_seconds: None, ..hourly() };
    west.client.start_replication("web", &tapped).await.unwrap();
    assert_eq!(code(west.client.edit_replication("web", &edit).await), Code::Conflict);
    let group = CreateReplicationGroup { vms: vec!["web".to_owned()], ..group };
    west.client.create_replication_group(&group).await.unwrap();
    let member = AddGroupMember { vm: "db".to_owned() };
    assert_eq!(code(west.client.add_group_member("shop", &member).await), Code::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_it_leaves_no_tracking() {
    let (_east, west) = replicated().await;
    let vm = west.client.vm("db").await.unwrap().id;
    let stopped = west.client.stop_replication("db", &StopReplication::default()).await.unwrap();
    assert_eq!(stopped.problems, Vec::<String>::new());
    let last = west.hypervisor.recoveries().last().cloned();
    assert_eq!(last, Some((vm, Chain::Replication, Baseline::default())));
}
