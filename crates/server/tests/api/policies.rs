//! Policies, with a clock that the test moves.

use std::sync::{Arc, atomic::Ordering};

use api::{
    BackupRequest, ChosenPoints, Code, CreatePolicy, EditPolicy, HoldPoints, JobView, KeepRules, MadeView,
    PointView, ProtectRequest, RunsView, VerdictView,
};
use catalog::Catalog;
use model::{JobId, JobKind, JobState, RunKind};

use crate::site::{SetClock, TestSite, code, into_vault, pattern, problem};

pub fn policy(name: &str, schedule: &str) -> CreatePolicy {
    CreatePolicy {
        name: name.to_owned(),
        schedule: schedule.to_owned(),
        zone: Some("UTC".to_owned()),
        keep: KeepRules::default(),
        jitter_seconds: None,
        grace_hours: Some(0),
    }
}

pub fn last(count: u32) -> KeepRules {
    KeepRules { last: Some(count), ..KeepRules::default() }
}

pub fn by(policy: &str) -> ProtectRequest {
    ProtectRequest { policy: Some(policy.to_owned()), ..into_vault("main") }
}

/// A site at noon, later than the store's clock, with a guest "db" that follows this policy.
async fn site_with(request: CreatePolicy) -> TestSite {
    let site = TestSite::start_by(Arc::new(SetClock::at("2040-03-02T12:00:00Z"))).await;
    site.client.create_policy(&request).await.unwrap();
    site.create_vault("main").await;
    site.add_guest("db", pattern(1)).await;
    site.client.protect("db", &by(&request.name)).await.unwrap();
    site
}

async fn backups(site: &TestSite) -> Vec<JobView> {
    let mut jobs = site.client.jobs(100).await.unwrap();
    jobs.retain(|job| job.kind == JobKind::Backup);
    jobs
}

async fn followed(site: &TestSite) -> RunsView {
    runs(site, RunKind::Backup).await
}

/// The runs that make backups or snapshots of "db".
pub async fn runs(site: &TestSite, kind: RunKind) -> RunsView {
    let vm = site.client.vm("db").await.unwrap();
    let followed = match kind {
        RunKind::Backup => vm.protection.unwrap().policy,
        RunKind::Snapshot => vm.snapshot_policy,
    };
    followed.unwrap().runs
}

/// Waits until there was a run after `before`; its job may still be at work.
pub async fn begun_run(site: &TestSite, kind: RunKind, before: &RunsView) -> RunsView {
    loop {
        let now = runs(site, kind).await;
        if now.last_run_at > before.last_run_at {
            return now;
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until the policy has run once more after `before`, and its backup has ended.
async fn next_run(site: &TestSite, before: &RunsView) -> RunsView {
    let now = begun_run(site, RunKind::Backup, before).await;
    if let Some(job) = now.last_job {
        let ended = site.end(&site.client.job(job.as_str()).await.unwrap()).await;
        assert_eq!(ended.state, JobState::Succeeded, "{ended:?}");
        assert_eq!(ended.warnings, Vec::<String>::new());
    }
    now
}

/// The point that a verdict is about.
fn point_of(verdict: &VerdictView) -> model::PointId {
    match &verdict.made {
        MadeView::Point(point) => point.id,
        MadeView::Snapshot(snapshot) => panic!("no point but the snapshot {}", snapshot.name),
    }
}

/// Moves the clock on by a day, and waits for the run of that day; returns its point.
async fn another_day(site: &TestSite) -> PointView {
    let before = followed(site).await;
    site.clock.advance_hours(24);
    next_run(site, &before).await;
    site.client.points(None, false).await.unwrap().pop().unwrap()
}

async fn point_ids(site: &TestSite) -> Vec<model::PointId> {
    site.client.points(None, false).await.unwrap().iter().map(|point| point.id).collect()
}

#[tokio::test]
async fn a_vm_is_backed_up_on_time_and_missed_runs_are_made_up_for_once() {
    let site = site_with(policy("nightly", "21:00")).await;
    let fresh = followed(&site).await;
    assert_eq!(fresh.next_run_at.unwrap().to_string(), "2040-03-02T21:00:00Z");
    assert_eq!((fresh.last_run_at, backups(&site).await.len()), (None, 0));

    site.clock.advance_hours(10);
    let ran = next_run(&site, &fresh).await;
    assert_eq!(ran.next_run_at.unwrap().to_string(), "2040-03-03T21:00:00Z");
    assert_eq!(point_ids(&site).await.len(), 1);

    let (clock, left) = (site.clock.clone(), site.stop().await);
    clock.advance_hours(24 * 9);
    let site = TestSite::start_over_by(left, clock).await;
    let late = next_run(&site, &ran).await;
    assert_eq!(late.next_run_at.unwrap().to_string(), "2040-03-12T21:00:00Z");
    assert_eq!(backups(&site).await.len(), 2, "nine days were missed, one backup is made");
    let view = site.client.policy("nightly").await.unwrap();
    let followers: Vec<_> = view.followers.iter().map(|it| (it.vm.as_str(), it.kind)).collect();
    assert_eq!(followers, [("db", RunKind::Backup)]);
    let runs: Vec<_> = view.next_runs.iter().map(ToString::to_string).collect();
    assert_eq!(runs, ["2040-03-12T21:00:00Z", "2040-03-13T21:00:00Z", "2040-03-14T21:00:00Z"]);
}

#[tokio::test]
async fn points_that_no_rule_keeps_go_and_those_of_others_stay() {
    let site = site_with(CreatePolicy { keep: last(2), ..policy("nightly", "21:00") }).await;
    let by_hand = site.backup("db").await;
    let labelled = BackupRequest { label: Some("before".to_owned()), ..BackupRequest::default() };
    let labelled = site.end(&site.client.backup("db", &labelled).await.unwrap()).await;
    assert_eq!(labelled.state, JobState::Succeeded);
    let first = another_day(&site).await;
    let hold = HoldPoints { references: vec![format!("point:db/{}", first.id)], reason: "case 17".into() };
    site.client.hold_points(&hold).await.unwrap();
    let second = another_day(&site).await;
    let third = another_day(&site).await;
    let fourth = another_day(&site).await;
    let ids = point_ids(&site).await;
    assert_eq!((ids.len(), ids[0]), (5, by_hand.id), "two by hand, one held, two that are kept");
    assert_eq!(ids[2..], [first.id, third.id, fourth.id]);
    let deleted = site.client.points(None, true).await.unwrap();
    let gone = deleted.iter().find(|point| point.id == second.id).unwrap();
    assert!(gone.deleted_at.is_some(), "it can be brought back");

    let preview = site.client.preview_policy("nightly", &EditPolicy::default()).await.unwrap();
    let told: Vec<_> =
        preview.iter().map(|verdict| (point_of(verdict), verdict.goes_from.is_some())).collect();
    assert_eq!(told, [(fourth.id, false), (third.id, false), (first.id, false)]);
    assert_eq!(preview[0].kept_by, ["newest", "last"]);
    assert!(preview[2].stays_because.as_ref().unwrap().contains("case 17"));

    site.client.release_points(&ChosenPoints { references: hold.references }).await.unwrap();
    let fifth = another_day(&site).await;
    assert_eq!(point_ids(&site).await[2..], [fourth.id, fifth.id]);
}

#[tokio::test]
async fn a_policy_that_keeps_less_deletes_nothing_before_its_grace_is_over() {
    let request = CreatePolicy { grace_hours: Some(36), ..policy("nightly", "21:00") };
    let site = site_with(request).await;
    let first = another_day(&site).await;
    let second = another_day(&site).await;
    another_day(&site).await;
    let shorter = EditPolicy { keep: last(2), ..EditPolicy::default() };
    let preview = site.client.preview_policy("nightly", &shorter).await.unwrap();
    let grace_until = preview[2].goes_from.unwrap();
    assert_eq!((point_of(&preview[2]), preview[1].goes_from), (first.id, None));
    assert_eq!(site.client.policy("nightly").await.unwrap().keep, KeepRules::default(), "nothing changed");
    let all_stay = site.client.preview_policy("nightly", &EditPolicy::default()).await.unwrap();
    assert!(all_stay.iter().all(|verdict| verdict.goes_from.is_none()));

    let edited = site.client.edit_policy("nightly", &shorter).await.unwrap();
    assert_eq!(edited.keep, last(2));
    assert!(edited.grace_until >= Some(grace_until));
    another_day(&site).await;
    assert_eq!(point_ids(&site).await.len(), 4, "its grace is not over");
    another_day(&site).await;
    let ids = point_ids(&site).await;
    assert_eq!(ids.len(), 2);
    assert!(!ids.contains(&second.id));
    let longer = EditPolicy { keep: last(3), ..EditPolicy::default() };
    assert_eq!(site.client.edit_policy("nightly", &longer).await.unwrap().grace_until, None);
}

#[tokio::test]
async fn a_run_whose_backup_failed_is_repeated_soon() {
    let site = site_with(policy("nightly", "21:00")).await;
    let fresh = followed(&site).await;
    site.hypervisor.has_no_captures.store(true, Ordering::Relaxed);
    site.clock.advance_hours(9);
    let failed = loop {
        let now = followed(&site).await;
        if let Some(job) = now.last_job {
            break site.end(&site.client.job(job.as_str()).await.unwrap()).await;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(failed.state, JobState::Failed);
    let after = followed(&site).await;
    let pause_us = after.next_run_at.unwrap().microseconds_since(failed.ended_at.unwrap());
    assert_eq!(pause_us, 60_000_000, "{after:?}");
    assert!(after.last_run_at > fresh.last_run_at);

    site.hypervisor.has_no_captures.store(false, Ordering::Relaxed);
    site.clock.advance_hours(1);
    let repeated = next_run(&site, &after).await;
    assert_eq!(repeated.next_run_at.unwrap().to_string(), "2040-03-03T21:00:00Z");
    assert_eq!(point_ids(&site).await.len(), 1);
}

#[tokio::test]
async fn the_point_of_a_run_that_was_cut_off_after_its_commit_is_the_policys() {
    let site = site_with(policy("nightly", "21:00")).await;
    let point = site.backup("db").await;
    assert_eq!(site.client.preview_policy("nightly", &EditPolicy::default()).await.unwrap(), []);
    let (clock, (directory, hypervisor)) = (site.clock.clone(), site.stop().await);
    // What a server leaves that dies before it notes what the policy made.
    let catalog = Catalog::open(&directory.path().join("catalog.db")).await.unwrap();
    let mut job = catalog.jobs(1).await.unwrap().pop().unwrap();
    job.id = JobId::from_random([7; 10]);
    job.request = serde_json::json!({"by_policy": true});
    (job.state, job.ended_at, job.result) = (JobState::Running, None, None);
    job.started_at = Some(point.captured_at);
    catalog.add_job(&job).await.unwrap();
    catalog.close().await;
    let site = TestSite::start_over_by((directory, hypervisor), clock).await;
    let later = site.backup("db").await;
    let preview = site.client.preview_policy("nightly", &EditPolicy::default()).await.unwrap();
    let made: Vec<_> = preview.iter().map(point_of).collect();
    assert_eq!(made, [point.id], "and not {}", later.id);
}

#[tokio::test]
async fn a_run_that_finds_a_backup_at_work_is_skipped_and_told() {
    let site = site_with(policy("often", "every 4h")).await;
    let before = followed(&site).await;
    site.hypervisor.held.close();
    let running = site.submit_backup("db").await;
    site.hypervisor.held.reached().await;
    site.clock.advance_hours(5);
    let skipped = next_run(&site, &before).await;
    assert!(skipped.skipped.unwrap().contains(running.id.as_str()));
    site.hypervisor.held.open();
    site.end(&running).await;
    assert_eq!(backups(&site).await.len(), 1);
    let before = followed(&site).await;
    site.clock.advance_hours(4);
    assert_eq!(next_run(&site, &before).await.skipped, None);
}

#[tokio::test]
async fn a_policy_is_changed_and_forgotten_with_care() {
    let site = site_with(policy("nightly", "21:00")).await;
    assert_eq!(code(site.client.create_policy(&policy("nightly", "daily")).await), Code::Conflict);
    for (wrong, word) in [
        (policy("a b", "daily"), "letters, digits"),
        (policy("b", "sometimes"), "mon..fri 21:00"),
        (CreatePolicy { zone: Some("Mars".to_owned()), ..policy("b", "daily") }, "Europe/Berlin"),
        (CreatePolicy { jitter_seconds: Some(86_401), ..policy("b", "daily") }, "24 h"),
        (CreatePolicy { grace_hours: Some(9_999), ..policy("b", "daily") }, "366 days"),
    ] {
        let refused = problem(site.client.create_policy(&wrong).await);
        assert!(refused.code == Code::Invalid && refused.detail.contains(word), "{refused:?}");
    }
    assert_eq!(code(site.client.protect("db", &by("none")).await), Code::NotFound);
    assert_eq!(code(site.client.policy("none").await), Code::NotFound);
    let edit = EditPolicy {
        schedule: Some("hourly".to_owned()),
        zone: Some("Asia/Kolkata".to_owned()),
        jitter_seconds: Some(600),
        ..EditPolicy::default()
    };
    let edited = site.client.edit_policy("nightly", &edit).await.unwrap();
    assert_eq!((edited.schedule.as_str(), edited.jitter_seconds), ("hourly", 600));
    assert_eq!(edited.next_runs[0].to_string(), "2040-03-02T12:30:00Z", "a full hour in Kolkata");
    assert_eq!(site.client.policies().await.unwrap().len(), 1);
    let refused = problem(site.client.delete_policy("nightly").await);
    assert!(refused.code == Code::Conflict && refused.detail.contains("db"), "{refused:?}");
    site.client.protect("db", &into_vault("main")).await.unwrap();
    assert_eq!(site.client.vm("db").await.unwrap().protection.unwrap().policy, None);
    site.client.delete_policy("nightly").await.unwrap();
    assert_eq!(site.client.policies().await.unwrap(), []);
}
