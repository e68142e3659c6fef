//! Clocks: one that is right, and one for each process that need not be.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use env::Clock;
use model::Timestamp;
use tokio::time::Instant;

/// When every world begins, by the true clock: 2026-01-01T00:00:00Z.
const BEGINNING_US: i64 = 1_767_225_600_000_000;

/// The true time at this instant.
pub(crate) fn true_time(start: Instant) -> Timestamp {
    Timestamp::from_microseconds(BEGINNING_US + start.elapsed().as_micros() as i64)
}

/// A process's clock.
#[derive(Debug)]
pub(crate) struct SimClock {
    start: Instant,
    ahead_us: AtomicI64,
}

impl SimClock {
    /// A clock that is right; the world began at `start`.
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, ahead_us: AtomicI64::new(0) }
    }

    /// Sets the clock so far ahead of the true time, or behind it.
    pub(crate) fn set_wrong(&self, by: Duration, is_ahead: bool) {
        let by_us = by.as_micros() as i64;
        self.ahead_us.store(if is_ahead { by_us } else { -by_us }, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let truth = true_time(self.start).as_microseconds();
        Timestamp::from_microseconds(truth + self.ahead_us.load(Ordering::Relaxed))
    }
}
