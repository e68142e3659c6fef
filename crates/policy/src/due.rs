//! When what a schedule asks for is due next.

use model::Timestamp;

use crate::{Schedule, Zone};

/// What is done by a schedule, and when it was.
#[derive(Debug, Clone, Copy)]
pub struct Scheduled<'schedule> {
    /// When it is due.
    pub schedule: &'schedule Schedule,
    /// The time zone of that.
    pub zone: &'schedule Zone,
    /// Since when it is done by this schedule: what was due before was not missed.
    pub since: Timestamp,
    /// When it was done last.
    pub last_run_at: Option<Timestamp>,
    /// How much later than the schedule says it is done.
    pub jitter_seconds: u32,
}

impl Scheduled<'_> {
    /// When it is due next; long past where it was missed, which is made up for by one run.
    #[must_use]
    pub fn due_at(&self, now: Timestamp) -> Option<Timestamp> {
        let jitter_seconds = i64::from(self.jitter_seconds);
        let after = self.last_run_at.map_or(self.since, |at| self.since.max(shifted(at, -jitter_seconds)));
        // A clock that was set back must not keep anybody waiting until it is where it was.
        let next = self.schedule.next_after(after.min(now), self.zone)?;
        Some(shifted(next, jitter_seconds))
    }
}

fn shifted(moment: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_microseconds(moment.as_microseconds().saturating_add(seconds * 1_000_000))
}
