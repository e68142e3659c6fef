//! Managed snapshots: made, used while they are copied, deleted, and what becomes of them when something goes wrong.

use api::{
    ByteStream, ChangeSourceView, Code, CreateSnapshot, CreateVm, DeleteSnapshot, ImageQuery, JobResult,
    JobView, LockSnapshot, SnapshotQuery, SnapshotView, TagSnapshot,
};
use model::{JobKind, JobState, SnapshotKind, SnapshotState};

use crate::site::{DISK_SIZE_BYTES, TestSite, code, into_vault, pattern, problem};

fn of(source: &str, name: &str) -> CreateSnapshot {
    CreateSnapshot {
        source: source.to_owned(),
        name: Some(name.parse().unwrap()),
        ..CreateSnapshot::default()
    }
}

/// Makes a snapshot and waits until all of it is in the store.
async fn ready(site: &TestSite, request: &CreateSnapshot) -> SnapshotView {
    let created = site.client.create_snapshot(request).await.unwrap();
    let ended = site.end(&created.job).await;
    match ended.result {
        Some(JobResult::Snapshot(snapshot)) => *snapshot,
        other => panic!("no snapshot but {other:?}, {:?}", ended.problem),
    }
}

/// Begins a snapshot whose copy stands still until the gate opens. Its moment is fixed when this returns.
async fn copying(site: &TestSite, request: &CreateSnapshot) -> JobView {
    site.hypervisor.held.close();
    let created = site.client.create_snapshot(request).await.unwrap();
    site.hypervisor.held.reached().await;
    created.job
}

async fn bytes(mut stream: ByteStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

/// The start of what a reference shows.
async fn start_of(site: &TestSite, reference: &str) -> Vec<u8> {
    let image = ImageQuery { reference, from_copy: None };
    bytes(site.client.image_range(image, 0, 512).await.unwrap()).await
}

async fn all_of(site: &TestSite, reference: &str) -> Vec<u8> {
    bytes(site.client.image_data(ImageQuery { reference, from_copy: None }).await.unwrap()).await
}

async fn names(site: &TestSite, query: &SnapshotQuery<'_>) -> Vec<String> {
    let page = site.client.snapshots(query).await.unwrap();
    page.snapshots.into_iter().map(|snapshot| snapshot.name.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_can_be_used_while_it_is_copied_and_afterwards() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    let job = copying(&site, &of("db", "monday")).await;
    let snapshot = site.client.snapshot("monday").await.unwrap();
    assert_eq!((snapshot.state, snapshot.kind), (SnapshotState::Copying, None));
    assert!(snapshot.percent_complete < 100 && snapshot.taken_at.is_some(), "{snapshot:?}");
    site.hypervisor.write(&site.path("db"), 0, &[7; 512]);
    assert_eq!(start_of(&site, "snapshot:monday/root").await, pattern(1)[..512], "the moment, not the disk");
    assert_eq!(start_of(&site, &format!("snapshot:{}", snapshot.id)).await, pattern(1)[..512]);

    site.hypervisor.held.open();
    assert_eq!(site.end(&job).await.state, JobState::Succeeded);
    let snapshot = site.client.snapshot("monday").await.unwrap();
    assert_eq!((snapshot.state, snapshot.kind), (SnapshotState::Ready, Some(SnapshotKind::Full)));
    assert_eq!((snapshot.percent_complete, snapshot.size_bytes.0), (100, DISK_SIZE_BYTES as u64));
    assert!(all_of(&site, "snapshot:monday/root").await == pattern(1));
    let point = site.client.point("snapshot:monday").await.unwrap();
    assert_eq!((point.label.as_deref(), point.disks.len()), (Some("monday"), 1));
    assert!(site.client.points(None, true).await.unwrap().is_empty(), "no recovery point of a vault");
    assert!(site.client.vaults().await.unwrap().is_empty(), "no vault of a user's");
    let store = site.client.snapshot_store().await.unwrap().unwrap();
    assert_eq!((store.name.as_str(), store.point_count, store.problem), ("snapshot-store", Some(1), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_and_backups_count_changes_each_from_their_own_last() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    site.backup("db").await;
    assert_eq!(ready(&site, &of("db", "first")).await.kind, Some(SnapshotKind::Full));
    site.hypervisor.write(&site.path("db"), 1 << 20, &[7; 512]);
    assert_eq!(site.backup("db").await.disks[0].source, ChangeSourceView::Bitmap);
    let second = ready(&site, &of("db", "second")).await;
    assert_eq!(second.kind, Some(SnapshotKind::Incremental));
    assert!(second.read_bytes.0 < 1 << 20, "{second:?}");
    let full = CreateSnapshot { full: true, ..of("db", "third") };
    assert_eq!(ready(&site, &full).await.kind, Some(SnapshotKind::Compared));
    assert_eq!(site.backup("db").await.disks[0].source, ChangeSourceView::Bitmap);
    assert_eq!(
        site.client.snapshot("second").await.unwrap().consistency_asked.unwrap().as_str(),
        "application"
    );

    let now = DeleteSnapshot { now: true, dry_run: false };
    site.client.delete_snapshot("first", &now).await.unwrap();
    let mut changed = pattern(1);
    changed[1 << 20..(1 << 20) + 512].fill(7);
    assert!(all_of(&site, "snapshot:second/root").await == changed, "no snapshot needs another");
    assert_eq!(ready(&site, &of("db", "fourth")).await.kind, Some(SnapshotKind::Incremental));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_disk_of_a_vm_is_a_snapshot_too() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    let alone = ready(&site, &of("db/root", "alone")).await;
    assert_eq!((alone.source.as_str(), alone.disks.len()), ("db/root", 1));
    assert_eq!(ready(&site, &of("db", "all")).await.kind, Some(SnapshotKind::Incremental), "of one family");
    let absent = problem(site.client.create_snapshot(&of("db/swap", "none")).await);
    assert!(absent.detail.contains("it has root"), "{}", absent.detail);
    assert_eq!(code(site.client.create_snapshot(&of("nobody", "none")).await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_one_living_snapshots() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    ready(&site, &of("db", "monday")).await;
    assert_eq!(code(site.client.create_snapshot(&of("db", "monday")).await), Code::Conflict);
    let unnamed = CreateSnapshot { source: "db".to_owned(), ..CreateSnapshot::default() };
    let (one, other) = (ready(&site, &unnamed).await, ready(&site, &unnamed).await);
    assert!(one.name.as_str().starts_with("db-2") && one.name != other.name, "{} {}", one.name, other.name);

    site.client.delete_snapshot("monday", &DeleteSnapshot::default()).await.unwrap();
    let gone = problem(
        site.client.image_extents(ImageQuery { reference: "snapshot:monday", from_copy: None }, 0).await,
    );
    assert_eq!(gone.hint.as_deref(), Some("bring it back first: holdfast snapshot undelete monday"));
    ready(&site, &of("db", "monday")).await;
    assert_eq!(code(site.client.undelete_snapshot("monday").await), Code::Conflict, "another has its name");
    assert_eq!(code(site.client.create_vault(&vault("snapshot-store")).await), Code::Conflict);
    assert_eq!(code(site.client.protect("db", &into_vault("snapshot-store")).await), Code::Invalid);
}

fn vault(name: &str) -> api::CreateVault {
    api::CreateVault { name: name.to_owned(), url: None, unlock_with: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_can_be_brought_back_and_what_is_locked_cannot_be_deleted() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    ready(&site, &of("db", "monday")).await;
    let soft = DeleteSnapshot::default();
    let deleted = site.client.delete_snapshot("monday", &soft).await.unwrap();
    assert_eq!(deleted.state, SnapshotState::Deleted);
    assert_eq!(names(&site, &SnapshotQuery::default()).await, [""; 0]);
    assert_eq!(names(&site, &SnapshotQuery { deleted: true, ..Default::default() }).await, ["monday"]);
    site.client.undelete_snapshot("monday").await.unwrap();
    assert!(all_of(&site, "snapshot:monday").await == pattern(1));

    let until = |text: &str| LockSnapshot { until: text.parse().unwrap() };
    assert_eq!(
        code(site.client.lock_snapshot("monday", &until("2001-01-01T00:00:00Z")).await),
        Code::Invalid
    );
    site.client.lock_snapshot("monday", &until("2999-01-01T00:00:00Z")).await.unwrap();
    let refused =
        problem(site.client.delete_snapshot("monday", &DeleteSnapshot { now: true, dry_run: false }).await);
    assert_eq!(refused.code, Code::Refused);
    assert!(refused.detail.contains("locked until 2999-01-01"), "{}", refused.detail);
    let shorter = site.client.lock_snapshot("monday", &until("2998-01-01T00:00:00Z")).await;
    assert_eq!(code(shorter), Code::Refused);
    site.client.lock_snapshot("monday", &until("2999-06-01T00:00:00Z")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_snapshot_is_purged_when_its_time_is_over() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    ready(&site, &of("db", "monday")).await;
    ready(&site, &of("db", "tuesday")).await;
    site.client.delete_snapshot("monday", &DeleteSnapshot::default()).await.unwrap();
    site.clock.advance_hours(15 * 24);
    let site = site.restart().await;
    let deleted = SnapshotQuery { deleted: true, ..SnapshotQuery::default() };
    // It looks once at the start, and then again and again.
    while !names(&site, &deleted).await.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(code(site.client.undelete_snapshot("monday").await), Code::NotFound);
    assert!(all_of(&site, "snapshot:tuesday").await == pattern(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_filtered() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    site.add_guest("web", pattern(2)).await;
    let tagged = |name: &str, value: &str| CreateSnapshot {
        tags: [("team".to_owned(), value.to_owned())].into(),
        ..of("db", name)
    };
    ready(&site, &tagged("a", "web")).await;
    ready(&site, &tagged("b", "webshop")).await;
    ready(&site, &of("web", "c")).await;
    assert_eq!(names(&site, &SnapshotQuery::default()).await, ["c", "b", "a"]);
    assert_eq!(names(&site, &SnapshotQuery { family: Some("db"), ..Default::default() }).await, ["b", "a"]);
    assert_eq!(names(&site, &SnapshotQuery { tag: Some("team=web"), ..Default::default() }).await, ["a"]);
    let tags =
        TagSnapshot { set: [("x".to_owned(), "=\"".to_owned())].into(), remove: vec!["team".to_owned()] };
    site.client.tag_snapshot("a", &tags).await.unwrap();
    assert_eq!(names(&site, &SnapshotQuery { tag: Some("x==\""), ..Default::default() }).await, ["a"]);
    assert_eq!(names(&site, &SnapshotQuery { tag: Some("team=web"), ..Default::default() }).await, [""; 0]);
    site.client.remove_vm("web").await.unwrap();
    assert_eq!(names(&site, &SnapshotQuery { family: Some("web"), ..Default::default() }).await, ["c"]);
    assert_eq!(
        code(site.client.snapshots(&SnapshotQuery { family: Some("no"), ..Default::default() }).await),
        Code::NotFound
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_capture_of_the_vm_waits_and_that_of_another_does_not() {
    let site = TestSite::start().await;
    for vm in ["a", "b", "c", "d"] {
        site.add_guest(vm, pattern(1)).await;
    }
    let first = copying(&site, &of("a", "first")).await;
    let second = site.client.create_snapshot(&of("a", "second")).await.unwrap();
    assert_eq!(second.job.progress.phase, format!("waiting for job {}", first.id));
    assert_eq!(second.snapshot.state, SnapshotState::Waiting);
    let unfixed = ImageQuery { reference: "snapshot:second", from_copy: None };
    assert!(problem(site.client.image_extents(unfixed, 0).await).detail.contains("not fixed yet"));
    // More than jobs may run: their moments are fixed at once all the same.
    for (vm, name) in [("b", "of-b"), ("c", "of-c"), ("d", "of-d")] {
        site.client.create_snapshot(&of(vm, name)).await.unwrap();
        while site.client.snapshot(name).await.unwrap().state != SnapshotState::Copying {
            tokio::task::yield_now().await;
        }
    }
    let third = site.client.create_snapshot(&of("a", "third")).await.unwrap();
    site.client.cancel_job(third.job.id.as_str()).await.unwrap();
    while site.client.snapshot("third").await.unwrap().state != SnapshotState::Failed {
        tokio::task::yield_now().await;
    }
    site.hypervisor.held.open();
    assert_eq!(site.end(&second.job).await.state, JobState::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_boots_from_a_snapshot_that_is_still_copied() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    let job = copying(&site, &of("db", "monday")).await;
    let boot: CreateVm = serde_json::from_value(
        serde_json::json!({"reference": "snapshot:monday", "name": "again", "hydrate": false, "start": true}),
    )
    .unwrap();
    let booted = site.end(&site.client.create_vm(&boot).await.unwrap()).await;
    assert_eq!(booted.state, JobState::Succeeded, "{booted:?}");
    let cancelled = site.client.snapshot("monday").await.unwrap();
    assert_eq!(cancelled.state, SnapshotState::Copying);
    site.hypervisor.held.open();
    assert_eq!(site.end(&job).await.state, JobState::Succeeded);
    let vm = site.client.vm("again").await.unwrap();
    assert!(vm.dependent_disks[0].reads_from.contains("the snapshot"), "{vm:?}");
    let used = problem(site.client.delete_snapshot("monday", &DeleteSnapshot::default()).await);
    assert!(used.detail.contains("the VM again runs from the snapshot monday"), "{}", used.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_purged_while_a_job_reads_from_the_store() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    site.add_guest("web", pattern(2)).await;
    site.client.protect("web", &into_vault("main")).await.unwrap();
    ready(&site, &of("db", "monday")).await;
    // As many jobs as may run, so that the export waits.
    site.hypervisor.held.close();
    let backups = [site.submit_backup("db").await, site.submit_backup("web").await];
    let export = serde_json::json!({
        "reference": "snapshot:monday", "path": site.path("out.img"), "format": "raw",
    });
    let export = site.client.export(&serde_json::from_value(export).unwrap()).await.unwrap();
    let now = DeleteSnapshot { now: true, dry_run: false };
    let refused = problem(site.client.delete_snapshot("monday", &now).await);
    assert!(refused.detail.contains(export.id.as_str()), "{}", refused.detail);
    site.client.delete_snapshot("monday", &DeleteSnapshot::default()).await.unwrap();
    site.hypervisor.held.open();
    assert_eq!(site.end(&export).await.state, JobState::Succeeded, "what is only deleted can still be read");
    assert!(std::fs::read(site.path("out.img")).unwrap() == pattern(1));
    for backup in &backups {
        site.end(backup).await;
    }
    site.client.delete_snapshot("monday", &now).await.unwrap();
    assert_eq!(code(site.client.snapshot("monday").await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_that_is_lost_is_a_failed_snapshot_that_says_why() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    ready(&site, &of("db", "first")).await;
    site.hypervisor.write(&site.path("db"), 0, &[7; 512]);
    let lose = |reads| {
        move |vm: &mut hypervisor::FakeVm| {
            vm.disks.values_mut().for_each(|disk| disk.reads_until_lost = reads);
        }
    };
    site.hypervisor.edit(&site.path("db"), lose(Some(0)));
    let created = site.client.create_snapshot(&of("db", "lost")).await.unwrap();
    let failure = site.failure(&created.job).await;
    assert_eq!(failure.code, Code::Unreachable, "{failure:?}");
    let lost = site.client.snapshot("lost").await.unwrap();
    assert_eq!((lost.state, lost.problem), (SnapshotState::Failed, Some(failure.detail)));
    site.hypervisor.edit(&site.path("db"), lose(None));
    let next = ready(&site, &of("db", "lost")).await;
    assert_eq!(next.kind, Some(SnapshotKind::Incremental), "change tracking went on, and the name is free");
    let mut changed = pattern(1);
    changed[..512].fill(7);
    assert!(all_of(&site, "snapshot:lost").await == changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_server_went_away_has_failed_and_leaves_no_gap() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    ready(&site, &of("db", "first")).await;
    site.hypervisor.write(&site.path("db"), 0, &[7; 512]);
    copying(&site, &of("db", "second")).await;
    let held = site.hypervisor.clone();
    let site = site.restart().await;
    held.held.open();
    let second = site.client.snapshot("second").await.unwrap();
    assert_eq!(second.state, SnapshotState::Failed, "{second:?}");
    assert_eq!(ready(&site, &of("db", "third")).await.kind, Some(SnapshotKind::Incremental));
    let mut changed = pattern(1);
    changed[..512].fill(7);
    assert!(all_of(&site, "snapshot:third").await == changed);
    site.client.delete_snapshot("second", &DeleteSnapshot::default()).await.unwrap();
    assert_eq!(code(site.client.snapshot("second").await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_has_is_ready_whatever_a_dead_server_had_noted() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    let made = ready(&site, &of("db", "monday")).await;
    let left = site.stop().await;
    let catalog = catalog::Catalog::open(&left.0.path().join("catalog.db")).await.unwrap();
    let mut known = catalog.snapshot(made.id).await.unwrap().unwrap();
    known.state = SnapshotState::Deleted;
    catalog.move_snapshot(&known).await.unwrap();
    catalog.remove_snapshot(known.id).await.unwrap();
    (known.state, known.disks, known.ready_at) = (SnapshotState::Copying, Vec::new(), None);
    catalog.add_snapshot(&known).await.unwrap();
    catalog.close().await;
    let site = TestSite::start_over(left).await;
    let settled = site.client.snapshot("monday").await.unwrap();
    assert_eq!((settled.state, &settled.disks), (SnapshotState::Ready, &made.disks));
    site.hypervisor.write(&site.path("db"), 0, &[7; 512]);
    assert_eq!(ready(&site, &of("db", "tuesday")).await.kind, Some(SnapshotKind::Incremental));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_file_is_a_family_of_its_own() {
    let site = TestSite::start().await;
    let path = site.path("golden.img");
    std::fs::write(&path, pattern(3)).unwrap();
    let source = format!("file:{}", path.display());
    let first = ready(&site, &of(&source, "golden")).await;
    assert_eq!((first.family.as_str(), first.kind), (source.as_str(), Some(SnapshotKind::Full)));
    let link = site.path("link.img");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let again = ready(&site, &of(&format!("file:{}", link.display()), "again")).await;
    assert_eq!((again.family_id, again.kind), (first.family_id, Some(SnapshotKind::Compared)));
    assert_eq!(again.stored_bytes.0, 0, "{again:?}");
    std::fs::remove_file(&path).unwrap();
    assert!(all_of(&site, "snapshot:golden").await == pattern(3), "the file may go");
    assert_eq!(code(site.client.create_snapshot(&of(&source, "gone")).await), Code::NotFound);
    assert_eq!(code(site.client.create_snapshot(&of("file:relative", "gone")).await), Code::Invalid);
    let jobs = site.client.jobs(10).await.unwrap();
    assert!(jobs.iter().all(|job| job.kind == JobKind::Snapshot));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_since_a_snapshot_that_is_lost_are_not_taken_for_changes_since_an_earlier_one() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    ready(&site, &of("db", "first")).await;
    let points = site.path("snapshots/points");
    let of_first: Vec<_> = std::fs::read_dir(&points).unwrap().map(|entry| entry.unwrap().path()).collect();
    site.hypervisor.write(&site.path("db"), 0, &[7; 512]);
    ready(&site, &of("db", "second")).await;
    let of_second = std::fs::read_dir(&points).unwrap().map(|entry| entry.unwrap().path());
    let of_second: Vec<_> = of_second.filter(|path| !of_first.contains(path)).collect();
    assert_eq!(of_second.len(), 1);
    std::fs::remove_file(&of_second[0]).unwrap();

    // The server has read it before.
    let site = site.restart().await;
    site.hypervisor.write(&site.path("db"), 1 << 20, &[8; 512]);
    let third = ready(&site, &of("db", "third")).await;
    assert_eq!(third.kind, Some(SnapshotKind::Compared));
    let mut changed = pattern(1);
    changed[..512].fill(7);
    changed[1 << 20..(1 << 20) + 512].fill(8);
    assert!(all_of(&site, "snapshot:third").await == changed);
}
