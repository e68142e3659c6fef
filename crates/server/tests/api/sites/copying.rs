//! Snapshots that are copied to another site, and into a vault.

use api::{
    ByteStream, Code, CopySnapshot, CreateSnapshot, DeleteSnapshot, ImageQuery, JobResult, JobView,
    SnapshotCopyView, SnapshotView,
};
use model::{JobState, SnapshotKind, TransferId};

use super::{call_as, caller, pair, site};
use crate::site::{TestSite, code, pattern, problem};

/// Two paired sites. The VM "db" is at "west", which calls "east".
async fn sites() -> (TestSite, TestSite) {
    let (east, west) = (site("east").await, caller("west").await);
    pair(&east, &west).await;
    west.add_guest("db", pattern(1)).await;
    (east, west)
}

async fn snapshot(site: &TestSite, name: &str) -> SnapshotView {
    let request = CreateSnapshot {
        source: "db".to_owned(),
        name: Some(name.parse().unwrap()),
        tags: [("team".to_owned(), "web".to_owned())].into(),
        ..CreateSnapshot::default()
    };
    let created = site.client.create_snapshot(&request).await.unwrap();
    match site.end(&created.job).await.result {
        Some(JobResult::Snapshot(snapshot)) => *snapshot,
        other => panic!("{other:?}"),
    }
}

fn to(place: &str) -> CopySnapshot {
    CopySnapshot { to: place.to_owned(), ..CopySnapshot::default() }
}

/// Slower than any test: the first region passes at once, the next never.
fn crawling(place: &str) -> CopySnapshot {
    CopySnapshot { rate_limit_bytes_per_second: Some(1), ..to(place) }
}

async fn arrived(site: &TestSite, job: &JobView) -> (SnapshotCopyView, Vec<String>) {
    let ended = site.end(job).await;
    match ended.result {
        Some(JobResult::SnapshotCopied(copy)) if ended.state == JobState::Succeeded => (copy, ended.warnings),
        other => panic!("{other:?}, {:?}", ended.problem),
    }
}

async fn copy(site: &TestSite, snapshot: &str, request: &CopySnapshot) -> SnapshotCopyView {
    arrived(site, &site.client.copy_snapshot(snapshot, request).await.unwrap()).await.0
}

async fn all_of(site: &TestSite, reference: &str) -> Vec<u8> {
    let stream = site.client.image_data(ImageQuery { reference, from_copy: None }).await.unwrap();
    bytes(stream).await
}

async fn bytes(mut stream: ByteStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

/// Waits until a region of the only transfer has arrived at a site, and is durable there.
async fn first_region(west: &TestSite, east: &TestSite) {
    let peer = call_as(west, east).await;
    let transfer = || -> Option<TransferId> {
        let name = std::fs::read_dir(east.path("transfers")).ok()?.next()?.ok()?.file_name();
        name.to_str()?.split_once('-')?.1.parse().ok()
    };
    loop {
        if let Some(transfer) = transfer()
            && let Ok(missing) = peer.missing_regions(transfer, 0, 0).await
            && missing.runs.iter().map(|(_, count)| count).sum::<u64>() < 3
        {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_arrives_whole_and_the_next_one_as_what_has_changed() {
    let (east, west) = sites().await;
    let monday = snapshot(&west, "monday").await;
    let first = copy(&west, "monday", &to("east")).await;
    assert_eq!((first.name_there.as_deref(), first.place_kind.as_str()), (Some("monday"), "site"));
    assert!(first.sent_bytes.0 > 4 << 20, "{first:?}");
    let there = east.client.snapshot("monday").await.unwrap();
    assert_eq!(
        (&there.family, there.family_id, &there.tags),
        (&monday.family, monday.family_id, &monday.tags)
    );
    assert_eq!((there.taken_at, there.consistency_reached), (monday.taken_at, monday.consistency_reached));
    assert_ne!(there.id, monday.id);
    assert!(all_of(&east, "snapshot:monday/root").await == pattern(1));
    let copies = west.client.snapshot("monday").await.unwrap().copies;
    assert_eq!((copies[0].place.as_str(), copies[0].state.as_str()), ("east", "done"));

    west.hypervisor.write(&west.path("db"), 1 << 20, &[7; 512]);
    let tuesday = snapshot(&west, "tuesday").await;
    let second = copy(&west, "tuesday", &to("east")).await;
    assert!(second.sent_bytes.0 < 1 << 20, "{second:?}");
    let mut changed = pattern(1);
    changed[1 << 20..(1 << 20) + 512].fill(7);
    assert!(all_of(&east, "snapshot:tuesday/root").await == changed);
    let there = east.client.snapshot("tuesday").await.unwrap();
    assert_eq!((there.kind, there.taken_at), (Some(SnapshotKind::Incremental), tuesday.taken_at));

    // Where the other site has deleted the base, the whole of it travels again.
    for gone in ["monday", "tuesday"] {
        east.client.delete_snapshot(gone, &DeleteSnapshot { now: true, dry_run: false }).await.unwrap();
    }
    let again = copy(&west, "tuesday", &to("east")).await;
    assert!(again.sent_bytes.0 > 4 << 20, "{again:?}");
    assert!(all_of(&east, "snapshot:tuesday/root").await == changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_there_gets_a_number() {
    let (east, west) = sites().await;
    snapshot(&west, "monday").await;
    copy(&west, "monday", &to("east")).await;
    let job = west.client.copy_snapshot("monday", &to("east")).await.unwrap();
    let (again, warnings) = arrived(&west, &job).await;
    assert_eq!(again.name_there.as_deref(), Some("monday-2"));
    assert!(warnings.iter().any(|warning| warning.contains("it is called monday-2 there")), "{warnings:?}");
    let renamed = CopySnapshot { name: Some("other".parse().unwrap()), ..to("east") };
    assert_eq!(copy(&west, "monday", &renamed).await.name_there.as_deref(), Some("other"));
    assert!(all_of(&east, "snapshot:other/root").await == pattern(1));

    let nowhere = problem(west.client.copy_snapshot("monday", &to("north")).await);
    assert_eq!(nowhere.code, Code::NotFound);
    assert_eq!(code(west.client.copy_snapshot("nothing", &to("east")).await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_on_when_both_sides_have_stopped_in_the_middle() {
    let (mut east, west) = sites().await;
    snapshot(&west, "monday").await;
    west.client.copy_snapshot("monday", &crawling("east")).await.unwrap();
    first_region(&west, &east).await;
    let copied = problem(west.client.copy_snapshot("monday", &to("east")).await);
    assert_eq!(copied.code, Code::Conflict, "it is under way");
    let deleted = problem(west.client.delete_snapshot("monday", &DeleteSnapshot::default()).await);
    assert!(deleted.detail.contains("is being copied to east"), "{}", deleted.detail);

    east.peers.listen = Some(east.client.site().await.unwrap().peer_address.unwrap().parse().unwrap());
    let (clock, config) = (east.clock.clone(), east.peers.clone());
    let left = east.stop().await;
    let west = west.restart().await;
    let east = TestSite::start_again(left, clock, config).await;
    loop {
        let copy = west.client.snapshot("monday").await.unwrap().copies.remove(0);
        assert_ne!(copy.state, "failed", "{copy:?}");
        if copy.state == "done" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(all_of(&east, "snapshot:monday/root").await == pattern(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_nothing_fails_the_copy_and_the_next_one_goes_on_from_what_has_arrived() {
    let (east, west) = sites().await;
    snapshot(&west, "monday").await;
    std::fs::write(east.path("snapshots"), "in the way").unwrap();
    let job = west.client.copy_snapshot("monday", &to("east")).await.unwrap();
    let failed = west.failure(&job).await;
    assert!(failed.detail.contains("sending to the site east"), "{}", failed.detail);
    assert!(east.client.snapshots(&Default::default()).await.unwrap().snapshots.is_empty());
    assert_eq!(west.client.snapshot("monday").await.unwrap().copies[0].state, "failed");

    std::fs::remove_file(east.path("snapshots")).unwrap();
    let copied = copy(&west, "monday", &to("east")).await;
    assert_eq!(copied.sent_bytes.0, 0, "all of it has arrived before");
    assert!(all_of(&east, "snapshot:monday/root").await == pattern(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_becomes_a_recovery_point_of_a_vault() {
    let west = TestSite::start().await;
    west.protected_guest("db").await;
    let monday = snapshot(&west, "monday").await;
    let backup = west.backup("db").await;
    let copied = copy(&west, "monday", &to("main")).await;
    assert_eq!(copied.place_kind, "vault");
    assert!(copied.sent_bytes.0 < 1 << 20, "the vault has it: {copied:?}");
    let id = copied.name_there.unwrap();
    let reference = format!("point:db/{id}");
    let point = west.client.point(&reference).await.unwrap();
    assert_eq!((point.label.as_deref(), Some(point.captured_at)), (Some("monday"), monday.taken_at));
    assert_eq!(point.vm_id, monday.family_id);
    assert!(all_of(&west, &format!("{reference}/root")).await == all_of(&west, "snapshot:monday/root").await);
    let latest = west.client.point("point:db/latest").await.unwrap();
    assert_eq!(latest.id, backup.id, "an old moment is not the newest");
    assert_eq!(code(west.client.copy_snapshot("monday", &to("snapshot-store")).await), Code::NotFound);
}
