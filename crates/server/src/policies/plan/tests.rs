use std::collections::BTreeMap;

use catalog::{FailedRun, KnownPolicy, PolicyMember, PolicyRun, RunOutcome};
use model::{JobId, Timestamp, VmId};

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

fn member(number: u8, joined: &str, last_run: Option<&str>) -> PolicyMember {
    let outcome = RunOutcome::Submitted(JobId::from_random([9; 10]));
    PolicyMember {
        vm_id: vm(number),
        policy: "gold".parse().unwrap(),
        joined_at: at(joined),
        last_run: last_run.map(|last| PolicyRun { at: at(last), outcome }),
    }
}

fn planned(now: &str, policy: &KnownPolicy, members: &[PolicyMember], busy: &[u8]) -> Plan {
    let policies = BTreeMap::from([(policy.name.clone(), policy.clone())]);
    let backups: BTreeMap<_, _> =
        busy.iter().map(|&number| (vm(number), JobId::from_random([number; 10]))).collect();
    plan(at(now), &policies, members, &backups, &BTreeMap::new())
}

fn waits_until(next: &str) -> Plan {
    Plan { actions: Vec::new(), next: Some(at(next)) }
}

fn backs_up(number: u8, next: &str) -> Plan {
    Plan { actions: vec![Action::Backup(vm(number))], next: Some(at(next)) }
}

#[test]
fn a_vm_is_backed_up_when_it_is_due_and_not_before() {
    let daily = policy("21:00", 0);
    let fresh = [member(1, "01-05T10:00", None)];
    assert_eq!(planned("01-05T20:59", &daily, &fresh, &[]), waits_until("01-05T21:00"));
    assert_eq!(planned("01-05T21:00", &daily, &fresh, &[]), backs_up(1, "01-06T21:00"));
    let done = [member(1, "01-05T10:00", Some("01-05T21:00"))];
    assert_eq!(planned("01-05T21:00", &daily, &done, &[]), waits_until("01-06T21:00"));
    assert_eq!(planned("01-06T20:59", &daily, &done, &[]), waits_until("01-06T21:00"));
    assert_eq!(planned("01-06T21:00", &daily, &[], &[]), Plan { actions: vec![], next: None });
}

#[test]
fn runs_that_were_missed_are_made_up_for_by_one() {
    let members = [member(1, "01-05T10:00", Some("01-05T21:00"))];
    assert_eq!(planned("02-20T08:00", &policy("21:00", 0), &members, &[]), backs_up(1, "02-20T21:00"));
}

#[test]
fn a_vm_whose_backup_has_not_ended_is_skipped_and_the_others_are_not() {
    let members = [member(1, "01-05T10:00", None), member(2, "01-05T10:00", None)];
    let planned = planned("01-05T21:00", &policy("21:00", 0), &members, &[1]);
    let skip = Action::Skip(vm(1), JobId::from_random([1; 10]));
    assert_eq!(planned.actions, [skip, Action::Backup(vm(2))]);
}

#[test]
fn what_was_due_before_the_vm_joined_or_by_another_schedule_was_not_missed() {
    let members = [member(1, "01-05T21:30", None)];
    assert_eq!(planned("01-06T10:00", &policy("21:00", 0), &members, &[]), waits_until("01-06T21:00"));
    let edited = KnownPolicy { scheduled_at: at("01-06T09:30"), ..policy("hourly", 0) };
    let members = [member(1, "01-01T00:00", Some("01-05T21:00"))];
    assert_eq!(planned("01-06T09:40", &edited, &members, &[]), waits_until("01-06T10:00"));
}

#[test]
fn a_clock_that_was_set_back_keeps_nobody_waiting() {
    let members = [member(1, "01-05T10:00", Some("12-31T21:00"))];
    assert_eq!(planned("01-06T10:00", &policy("21:00", 0), &members, &[]), waits_until("01-06T21:00"));
}

/// What is planned where the last run of VM 1 failed.
fn after_failures(now: &str, schedule: &str, ended: &str, failures: u32) -> Plan {
    let policy = policy(schedule, 0);
    let policies = BTreeMap::from([(policy.name.clone(), policy)]);
    let failed = FailedRun { vm_id: vm(1), ended_at: at(ended), failures };
    let members = [member(1, "01-05T10:00", Some("01-05T21:00"))];
    plan(at(now), &policies, &members, &BTreeMap::new(), &BTreeMap::from([(vm(1), failed)]))
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
    let delay_us = i64::from(policy::jitter_seconds(vm(1), 3600)) * 1_000_000;
    assert!(delay_us > 0);
    let mut followed = member(1, "01-05T10:00", None);
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
        assert_eq!(plan.actions, [Action::Backup(vm(1))]);
        followed.last_run = Some(PolicyRun { at: now, outcome: RunOutcome::Skipped(String::new()) });
    }
}
