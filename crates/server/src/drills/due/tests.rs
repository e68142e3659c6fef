use policy::Zone;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn weekly() -> DrillSchedule {
    DrillSchedule {
        plan: "shop".parse().unwrap(),
        schedule: "sat 03:00".parse().unwrap(),
        zone: Zone::utc(),
        scheduled_at: at("2040-03-01T12:00:00Z"),
        point: "latest".to_owned(),
        grace_hours: 24,
        jitter_seconds: 0,
        keep_reports: 52,
        last_run_at: None,
        put_off: None,
    }
}

#[test]
fn one_that_was_missed_is_due_once() {
    let mut schedule = weekly();
    assert_eq!(next_at(&schedule, at("2040-03-01T12:00:00Z")), Some(at("2040-03-03T03:00:00Z")));
    let now = at("2040-03-20T00:00:00Z");
    assert_eq!(next_at(&schedule, now), Some(at("2040-03-03T03:00:00Z")));
    schedule.last_run_at = Some(now);
    assert_eq!(next_at(&schedule, now), Some(at("2040-03-24T03:00:00Z")));
}

#[test]
fn it_is_overdue_when_none_has_passed_in_time_and_grace() {
    let schedule = weekly();
    assert_eq!(overdue_since(&schedule, None, at("2040-03-04T02:59:00Z")), None);
    let late = at("2040-03-04T03:00:00Z");
    assert_eq!(overdue_since(&schedule, None, late), Some(late));
    let passed = Some(at("2040-03-03T03:00:05Z"));
    assert_eq!(overdue_since(&schedule, passed, at("2040-03-11T02:59:00Z")), None);
    let late = at("2040-03-12T00:00:00Z");
    assert_eq!(overdue_since(&schedule, passed, late), Some(at("2040-03-11T03:00:00Z")));
    let set_back = at("2040-02-01T00:00:00Z");
    assert_eq!(overdue_since(&schedule, passed, set_back), None);
}
