//! Snapshots that policies make, with a clock that the test moves.

use std::sync::Arc;

use api::{
    Code, CreatePolicy, CreateSnapshot, CreateVm, EditPolicy, JobView, LockSnapshot, MadeView,
    ScheduleSnapshots, SnapshotQuery, SnapshotView,
};
use catalog::Catalog;
use model::{Consistency, JobKind, JobState, RunKind, SnapshotState};

use crate::{
    policies::{begun_run, by, last, policy, runs},
    site::{SetClock, TestSite, code, into_vault, pattern, problem},
};

fn follow(policy: &str) -> ScheduleSnapshots {
    ScheduleSnapshots { policy: policy.to_owned(), consistency: None }
}

/// A site at noon with a guest "db" whose snapshots follow this policy.
async fn site_with(request: CreatePolicy) -> TestSite {
    let site = TestSite::start_by(Arc::new(SetClock::at("2040-03-02T12:00:00Z"))).await;
    site.client.create_policy(&request).await.unwrap();
    site.add_guest("db", pattern(1)).await;
    site.client.schedule_snapshots("db", &follow(&request.name)).await.unwrap();
    site
}

/// All snapshots that are not deleted, oldest first.
async fn snapshots(site: &TestSite) -> Vec<SnapshotView> {
    let mut all = site.client.snapshots(&SnapshotQuery::default()).await.unwrap().snapshots;
    all.reverse();
    all
}

async fn names(site: &TestSite) -> Vec<String> {
    snapshots(site).await.iter().map(|snapshot| snapshot.name.to_string()).collect()
}

/// Moves the clock on, and waits for the end of the job of the run that is due then.
async fn run_after_hours(site: &TestSite, hours: i64) -> JobView {
    let before = runs(site, RunKind::Snapshot).await;
    site.clock.advance_hours(hours);
    let run = begun_run(site, RunKind::Snapshot, &before).await;
    site.end(&site.client.job(run.last_job.unwrap().as_str()).await.unwrap()).await
}

/// The same for a run that makes a snapshot.
async fn another(site: &TestSite) -> SnapshotView {
    let job = run_after_hours(site, 24).await;
    assert_eq!((job.state, job.warnings.len()), (JobState::Succeeded, 0), "{job:?}");
    snapshots(site).await.pop().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_made_on_time_and_backups_by_the_same_policy_too() {
    let site = site_with(policy("nightly", "21:00")).await;
    site.create_vault("main").await;
    site.client.protect("db", &by("nightly")).await.unwrap();
    let fresh = runs(&site, RunKind::Snapshot).await;
    assert_eq!(fresh.next_run_at.unwrap().to_string(), "2040-03-02T21:00:00Z");
    assert_eq!(snapshots(&site).await.len(), 0);
    let backup = runs(&site, RunKind::Backup).await;
    let made = another(&site).await;
    assert_eq!(made.policy.as_ref().unwrap().as_str(), "nightly");
    assert!(made.name.as_str().starts_with("db-20400303-12"), "{}", made.name);
    assert_eq!(made.consistency_asked, Some(Consistency::Application), "as the protection says");
    let backup = begun_run(&site, RunKind::Backup, &backup).await.last_job.unwrap();
    let backup = site.end(&site.client.job(backup.as_str()).await.unwrap()).await;
    assert_eq!(backup.state, JobState::Succeeded);
    let jobs = site.client.jobs(10).await.unwrap();
    let ran = |kind| jobs.iter().filter(|job| job.kind == kind).count();
    assert_eq!((ran(JobKind::Snapshot), ran(JobKind::Backup)), (1, 1));

    let view = site.client.policy("nightly").await.unwrap();
    let followers: Vec<_> = view.followers.iter().map(|it| (it.vm.as_str(), it.kind)).collect();
    assert_eq!(followers, [("db", RunKind::Snapshot), ("db", RunKind::Backup)]);
    let told: Vec<_> = view.followers.iter().map(|it| it.runs.next_run_at.unwrap().to_string()).collect();
    assert_eq!(told, ["2040-03-03T21:00:00Z"; 2]);
    let crash = ScheduleSnapshots { consistency: Some(Consistency::Crash), ..follow("nightly") };
    site.client.schedule_snapshots("db", &crash).await.unwrap();
    assert_eq!(another(&site).await.consistency_asked, Some(Consistency::Crash));
    // Its backups end with the protection, its snapshots do not.
    site.client.unprotect("db").await.unwrap();
    assert_eq!(site.client.policy("nightly").await.unwrap().followers.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_finds_a_snapshot_at_work_is_skipped_and_one_that_failed_says_why() {
    let site = site_with(policy("often", "every 4h")).await;
    let before = runs(&site, RunKind::Snapshot).await;
    site.hypervisor.held.close();
    let by_hand = CreateSnapshot { source: "db".to_owned(), ..CreateSnapshot::default() };
    let running = site.client.create_snapshot(&by_hand).await.unwrap().job;
    site.hypervisor.held.reached().await;
    site.clock.advance_hours(5);
    let skipped = begun_run(&site, RunKind::Snapshot, &before).await;
    assert!(skipped.skipped.unwrap().contains(running.id.as_str()));
    assert_eq!(skipped.failed, None);
    site.hypervisor.held.open();
    site.end(&running).await;

    let lose = |reads| {
        move |vm: &mut hypervisor::FakeVm| {
            vm.disks.values_mut().for_each(|disk| disk.reads_until_lost = reads);
        }
    };
    site.hypervisor.write(&site.path("db"), 0, &[7; 512]);
    site.hypervisor.edit(&site.path("db"), lose(Some(0)));
    for _ in 0..2 {
        assert_eq!(run_after_hours(&site, 4).await.state, JobState::Failed);
    }
    let failed = runs(&site, RunKind::Snapshot).await;
    assert!(failed.skipped.is_none() && failed.failed.is_some(), "{failed:?}");
    let all = snapshots(&site).await;
    let states: Vec<_> = all.iter().map(|snapshot| snapshot.state).collect();
    assert_eq!(states, [SnapshotState::Ready, SnapshotState::Failed], "only the last failure is kept");
    site.hypervisor.edit(&site.path("db"), lose(None));
    assert_eq!(run_after_hours(&site, 4).await.state, JobState::Succeeded);
    assert_eq!(runs(&site, RunKind::Snapshot).await.failed, None);
    assert!(snapshots(&site).await.iter().all(|snapshot| snapshot.state == SnapshotState::Ready));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_policies_made_goes_and_what_is_locked_or_used_stays() {
    let site = site_with(CreatePolicy { keep: last(2), ..policy("nightly", "21:00") }).await;
    let by_hand = CreateSnapshot {
        source: "db".to_owned(),
        name: Some("by-hand".parse().unwrap()),
        ..CreateSnapshot::default()
    };
    site.end(&site.client.create_snapshot(&by_hand).await.unwrap().job).await;
    let first = another(&site).await.name.to_string();
    let lock = LockSnapshot { until: "2040-03-08T00:00:00Z".parse().unwrap() };
    site.client.lock_snapshot(&first, &lock).await.unwrap();
    let second = another(&site).await.name.to_string();
    let boot: CreateVm = serde_json::from_value(serde_json::json!({
        "reference": format!("snapshot:{second}"), "name": "again", "hydrate": false, "start": true,
    }))
    .unwrap();
    let booted = site.end(&site.client.create_vm(&boot).await.unwrap()).await;
    assert_eq!(booted.state, JobState::Succeeded, "{booted:?}");
    let third = another(&site).await.name.to_string();
    let fourth = another(&site).await.name.to_string();
    let fifth = another(&site).await.name.to_string();
    assert_eq!(names(&site).await, ["by-hand", &first, &second, &fourth, &fifth]);
    let deleted = SnapshotQuery { deleted: true, ..SnapshotQuery::default() };
    let deleted = site.client.snapshots(&deleted).await.unwrap().snapshots;
    assert_eq!((deleted.len(), deleted[0].name.as_str()), (1, third.as_str()), "it can be brought back");

    let preview = site.client.preview_policy("nightly", &EditPolicy::default()).await.unwrap();
    let told: Vec<_> = preview
        .iter()
        .map(|verdict| match &verdict.made {
            MadeView::Snapshot(snapshot) => (snapshot.name.to_string(), verdict.goes_from.is_some()),
            MadeView::Point(point) => panic!("{point:?}"),
        })
        .collect();
    assert_eq!(told, [&fifth, &fourth, &second, &first].map(|name| (name.clone(), false)));
    assert!(preview[2].stays_because.as_ref().unwrap().contains("the VM again runs from"));
    assert!(preview[3].stays_because.as_ref().unwrap().contains("locked until 2040-03-08"));
    let shorter = EditPolicy { keep: last(1), ..EditPolicy::default() };
    let preview = site.client.preview_policy("nightly", &shorter).await.unwrap();
    let goes: Vec<_> = preview.iter().map(|verdict| verdict.goes_from.is_some()).collect();
    assert_eq!(goes, [false, true, false, false]);

    // The lock is over two days later: then it counts again, and goes.
    let sixth = another(&site).await.name.to_string();
    let seventh = another(&site).await.name.to_string();
    assert_eq!(names(&site).await, ["by-hand", &second, &sixth, &seventh]);
    site.client.unschedule_snapshots("db").await.unwrap();
    assert_eq!(names(&site).await.len(), 4, "what there is stays");
    assert_eq!(site.client.vm("db").await.unwrap().snapshot_policy, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_keeps_less_deletes_no_snapshot_before_its_grace_is_over() {
    let site = site_with(CreatePolicy { grace_hours: Some(36), ..policy("nightly", "21:00") }).await;
    for _ in 0..3 {
        another(&site).await;
    }
    let shorter = EditPolicy { keep: last(1), ..EditPolicy::default() };
    let until = site.client.edit_policy("nightly", &shorter).await.unwrap().grace_until.unwrap();
    let preview = site.client.preview_policy("nightly", &EditPolicy::default()).await.unwrap();
    assert_eq!(preview[2].goes_from, Some(until));
    another(&site).await;
    assert_eq!(names(&site).await.len(), 4, "its grace is not over");
    another(&site).await;
    assert_eq!(names(&site).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_died_before_it_noted_a_snapshot_knows_whose_it_is() {
    let site = site_with(CreatePolicy { keep: last(1), ..policy("nightly", "21:00") }).await;
    let first = another(&site).await;
    let (clock, left) = (site.clock.clone(), site.stop().await);
    let catalog = Catalog::open(&left.0.path().join("catalog.db")).await.unwrap();
    let mut known = catalog.snapshot(first.id).await.unwrap().unwrap();
    known.state = SnapshotState::Deleted;
    catalog.move_snapshot(&known).await.unwrap();
    catalog.remove_snapshot(known.id).await.unwrap();
    (known.state, known.ready_at) = (SnapshotState::Copying, None);
    catalog.add_snapshot(&known).await.unwrap();
    catalog.close().await;

    // Whole in the store, and nobody has noted it.
    let site = TestSite::start_over_by(left, clock).await;
    let found = site.client.snapshot(first.id.as_str()).await.unwrap();
    assert_eq!((found.state, found.policy), (SnapshotState::Ready, first.policy));
    let second = another(&site).await;
    assert_eq!(names(&site).await, [second.name.to_string()], "it went by the policy's rules");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_missed_while_the_server_was_down_are_made_up_for_once() {
    let site = site_with(policy("often", "every 4h")).await;
    another(&site).await;
    let before = runs(&site, RunKind::Snapshot).await;
    let (clock, left) = (site.clock.clone(), site.stop().await);
    clock.advance_hours(48);
    let site = TestSite::start_over_by(left, clock).await;
    let late = begun_run(&site, RunKind::Snapshot, &before).await;
    site.end(&site.client.job(late.last_job.unwrap().as_str()).await.unwrap()).await;
    assert_eq!(names(&site).await.len(), 2, "two days were missed, one snapshot is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_checked() {
    let site = site_with(policy("nightly", "21:00")).await;
    assert_eq!(code(site.client.schedule_snapshots("db", &follow("none")).await), Code::NotFound);
    assert_eq!(code(site.client.schedule_snapshots("web", &follow("nightly")).await), Code::NotFound);
    let refused = problem(site.client.delete_policy("nightly").await);
    assert!(refused.detail.contains("followed by the snapshots of db"), "{}", refused.detail);
    assert_eq!(refused.hint.unwrap(), "end that first: holdfast snapshot unschedule db");
    site.create_vault("main").await;
    site.client.protect("db", &into_vault("main")).await.unwrap();
    assert!(site.client.vm("db").await.unwrap().snapshot_policy.is_some());
    site.client.unschedule_snapshots("db").await.unwrap();
    assert_eq!(code(site.client.unschedule_snapshots("db").await), Code::Conflict);
    site.client.delete_policy("nightly").await.unwrap();
}
