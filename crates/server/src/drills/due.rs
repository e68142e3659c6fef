//! When drills are due, and since when they are overdue.

use catalog::DrillSchedule;
use model::Timestamp;
use policy::Scheduled;

/// When the next drill is due; long past where one was missed or is put off.
pub(super) fn next_at(schedule: &DrillSchedule, now: Timestamp) -> Option<Timestamp> {
    scheduled(schedule, schedule.scheduled_at, schedule.last_run_at).due_at(now)
}

/// Since when a drill should have passed and none has: the first that was due after the last that passed, and the grace.
pub(super) fn overdue_since(
    schedule: &DrillSchedule,
    last_passed_at: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let since = last_passed_at.map_or(schedule.scheduled_at, |at| at.max(schedule.scheduled_at));
    let due = scheduled(schedule, since, None).due_at(now)?;
    let grace_us = i64::from(schedule.grace_hours) * 3_600_000_000;
    let overdue = Timestamp::from_microseconds(due.as_microseconds().saturating_add(grace_us));
    (overdue <= now).then_some(overdue)
}

fn scheduled(schedule: &DrillSchedule, since: Timestamp, last_run_at: Option<Timestamp>) -> Scheduled<'_> {
    Scheduled {
        schedule: &schedule.schedule,
        zone: &schedule.zone,
        since,
        last_run_at,
        jitter_seconds: policy::jitter_seconds(schedule.plan.as_str(), schedule.jitter_seconds),
    }
}

#[cfg(test)]
mod tests;
