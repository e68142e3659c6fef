use std::collections::BTreeMap;

use catalog::{FailedRun, KnownPolicy, PolicyFollower, PolicyRun, RunOutcome};
use model::{JobId, RunKind, Timestamp, VmId};

use super::{Action, Plan, plan};

fn at(text: &str) -> Timestamp {
    format!("2026-{text}:00Z").parse().unwrap()
}

fn policy(schedule: &str, jitter_seconds: u32) -> KnownPolicy {
    KnownPolicy {
        name: "gold".parse().unwrap(),
        schedule: schedule.parse().unwrap(),
        zone: policy::Zone::utc(),
        scheduled_at: at("01-01T00:00"),
        retention: None,
        shortened_at: at("01-01T00:00"),
        grace_hours: 24,
        jitter_seconds,
        created_at: at("01-01T00:00"),
    }
}

fn vm(number: u8) -> VmId {
    VmId::from_random([number; 10])
}

fn follower(number: u8, joined: &str, last_run: Option<&str>) -> PolicyFollower {
    let outcome = RunOutcome::Submitted(JobId::from_random([9; 10]));
    PolicyFollower {
        vm_id: vm(number),
        kind: RunKind::Backup,
        policy: "gold".parse().unwrap(),
        joined_at: at(joined),
        consistency: None,
        last_run: last_run.map(|last| PolicyRun { at: at(last), outcome }),
    }
}

fn planned(now: &str, policy: &KnownPolicy, followers: &[PolicyFollower], busy: &[u8]) -> Plan {
    let policies = BTreeMap::from([(policy.name.clone(), policy.clone())]);
    let unfinished: BTreeMap<_, _> = busy
        .iter()
        .map(|&number| ((RunKind::Backup, vm(number)), JobId::from_random([number; 10])))
        .collect();
    plan(at(now), &policies, followers, &unfinished, &BTreeMap::new())
}

fn waits_until(next: &str) -> Plan {
    Plan { actions: Vec::new(), next: Some(at(next)) }
}

fn backs_up(number: u8, next: &str) -> Plan {
    Plan { actions: vec![Action::Run(RunKind::Backup, vm(number))], next: Some(at(next)) }
}

#[test]
fn a_vm_is_backed_up_when_it_is_due_and_not_before() {
    let daily = policy("21:00", 0);
    let fresh = [follower(1, "01-05T10:00", None)];
    assert_eq!(planned("01-05T20:59", &daily, &fresh, &[]), waits_until("01-05T21:00"));
    assert_eq!(planned("01-05T21:00", &daily, &fresh, &[]), backs_up(1, "01-06T21:00"));
    let done = [follower(1, "01-05T10:00", Some("01-05T21:00"))];
    assert_eq!(planned("01-05T21:00", &daily, &done, &[]), waits_until("01-06T21:00"));
    assert_eq!(planned("01-06T20:59", &daily, &done, &[]), waits_until("01-06T21:00"));
    assert_eq!(planned("01-06T21:00", &daily, &[], &[]), Plan { actions: vec![], next: None });
}

#[test]
fn runs_that_were_missed_are_made_up_for_by_one() {
    let followers = [follower(1, "01-05T10:00", Some("01-05T21:00"))];
    assert_eq!(planned("02-20T08:00", &policy("21:00", 0), &followers, &[]), backs_up(1, "02-20T21:00"));
}

#[test]
fn a_vm_whose_backup_has_not_ended_is_skipped_and_the_others_are_not() {
    let followers = [follower(1, "01-05T10:00", None), follower(2, "01-05T10:00", None)];
    let planned = planned("01-05T21:00", &policy("21:00", 0), &followers, &[1]);
    let skip = Action::Skip(RunKind::Backup, vm(1), JobId::from_random([1; 10]));
    assert_eq!(planned.actions, [skip, Action::Run(RunKind::Backup, vm(2))]);
}

#[test]
fn what_was_due_before_the_vm_joined_or_by_another_schedule_was_not_missed() {
    let followers = [follower(1, "01-05T21:30", None)];
    assert_eq!(planned("01-06T10:00", &policy("21:00", 0), &followers, &[]), waits_until("01-06T21:00"));
    let edited = KnownPolicy { scheduled_at: at("01-06T09:30"), ..policy("hourly", 0) };
    let followers = [follower(1, "01-01T00:00", Some("01-05T21:00"))];
    assert_eq!(planned("01-06T09:40", &edited, &followers, &[]), waits_until("01-06T10:00"));
}

#[test]
fn a_clock_that_was_set_back_keeps_nobody_waiting() {
    let followers = [follower(1, "01-05T10:00", Some("12-31T21:00"))];
    assert_eq!(planned("01-06T10:00", &policy("21:00", 0), &followers, &[]), waits_until("01-06T21:00"));
}

/// What is planned where the last run of VM 1 failed.
fn after_failures(now: &str, schedule: &str, ended: &str, failures: u32) -> Plan {
    let policy = policy(schedule, 0);
    let policies = BTreeMap::from([(policy.name.clone(), policy)]);
    let failed = FailedRun { vm_id: vm(1), kind: RunKind::Backup, ended_at: at(ended), failures };
    let followers = [follower(1, "01-05T10:00", Some("01-05T21:00"))];
    let failed = BTreeMap::from([((RunKind::Backup, vm(1)), failed)]);
    plan(at(now), &policies, &followers, &BTreeMap::new(), &failed)
}

#[test]
fn a_run_that_failed_is_repeated_after_pauses_that_grow_and_end() {
    assert_eq!(after_failures("01-05T21:05", "21:00", "01-05T21:05", 1), waits_until("01-05T21:06"));
    assert_eq!(after_failures("01-05T21:06", "21:00", "01-05T21:05", 1), backs_up(1, "01-06T21:00"));
    for (failures, next) in [(2, "21:07"), (3, "21:09"), (6, "21:37"), (7, "22:05"), (u32::MAX, "22:05")] {
        let plan = after_failures("01-05T21:05", "21:00", "01-05T21:05", failures);
        assert_eq!(plan, waits_until(&format!("01-05T{next}")), "{failures} failures");
    }
}

#[test]
fn what_is_due_before_a_failed_run_is_repeated_is_its_repetition() {
    let plan = after_failures("01-05T21:09", "every 10m", "01-05T21:05", 9);
    assert_eq!(plan, waits_until("01-05T21:10"));
    let set_back = after_failures("01-05T21:02", "21:00", "02-20T08:00", 1);
    assert_eq!(set_back, waits_until("01-05T21:03"), "by a clock that was set back");
}

#[test]
fn jitter_delays_each_vm_by_its_own_time_and_no_run_is_lost_or_doubled() {
    let spread = policy("every 10m", 3600);
    let delay_us = i64::from(policy::jitter_seconds(vm(1).as_str(), 3600)) * 1_000_000;
    assert!(delay_us > 0);
    let mut followed = follower(1, "01-05T10:00", None);
    let mut now = at("01-05T10:00");
    let policies = BTreeMap::from([(spread.name.clone(), spread.clone())]);
    for number in 1..20 {
        let next =
            plan(now, &policies, &[followed.clone()], &BTreeMap::new(), &BTreeMap::new()).next.unwrap();
        let due_us = at("01-05T10:00").as_microseconds() + number * 600_000_000 + delay_us;
        assert_eq!(next, Timestamp::from_microseconds(due_us));
        // The scheduler looks a little late.
        now = Timestamp::from_microseconds(due_us + 3_000_000);
        let plan = plan(now, &policies, &[followed.clone()], &BTreeMap::new(), &BTreeMap::new());
        assert_eq!(plan.actions, [Action::Run(RunKind::Backup, vm(1))]);
        followed.last_run = Some(PolicyRun { at: now, outcome: RunOutcome::Skipped(String::new()) });
    }
}

#[test]
fn snapshots_and_backups_of_a_vm_are_due_each_by_themselves_and_the_snapshot_comes_first() {
    let daily = policy("21:00", 0);
    let backups = follower(1, "01-05T10:00", None);
    let snapshots = PolicyFollower { kind: RunKind::Snapshot, ..backups.clone() };
    let (snapshot, backup) = (Action::Run(RunKind::Snapshot, vm(1)), Action::Run(RunKind::Backup, vm(1)));
    let both = [snapshots.clone(), backups.clone()];
    assert_eq!(planned("01-05T21:00", &daily, &both, &[]).actions, [snapshot, backup]);
    let skip = Action::Skip(RunKind::Backup, vm(1), JobId::from_random([1; 10]));
    assert_eq!(planned("01-05T21:00", &daily, &both, &[1]).actions, [snapshot, skip], "a backup is at work");
    let done =
        PolicyFollower { last_run: follower(1, "01-05T10:00", Some("01-05T21:00")).last_run, ..backups };
    let planned = planned("01-05T21:01", &daily, &[snapshots, done], &[]);
    assert_eq!(planned, Plan { actions: vec![snapshot], next: Some(at("01-06T21:00")) });
}

#[test]
fn one_policy_of_a_minute_s_interval_makes_a_run_a_minute() {
    let often = policy("every 1m", 0);
    let snapshots =
        PolicyFollower { kind: RunKind::Snapshot, ..follower(1, "01-05T10:00", Some("01-05T10:03")) };
    let followers = [snapshots];
    assert_eq!(planned("01-05T10:03", &often, &followers, &[]), waits_until("01-05T10:04"));
    let run = Action::Run(RunKind::Snapshot, vm(1));
    let late = planned("01-05T10:09", &often, &followers, &[]);
    assert_eq!(late, Plan { actions: vec![run], next: Some(at("01-05T10:10")) });
}
