//! How fast a site sends, by the time of day.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use env::Env;
use jiff::{civil::Time, tz::TimeZone};
use model::Timestamp;
use tokio::time::Instant;

/// How fast to send: always, or in the windows of a day.
#[derive(Debug, Clone)]
pub struct Bandwidth {
    /// Bytes a second outside all windows; none is as fast as it goes.
    pub bytes_per_second: Option<u64>,
    /// The first that holds the time of day counts.
    pub windows: Vec<BandwidthWindow>,
    /// The time zone of the windows.
    pub zone: TimeZone,
}

/// A part of each day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BandwidthWindow {
    /// Its beginning.
    pub from: Time,
    /// Its end, not in it; before its beginning where it lasts over midnight.
    pub until: Time,
    /// Bytes a second in it; none is as fast as it goes.
    pub bytes_per_second: Option<u64>,
}

impl Bandwidth {
    /// As fast as it goes.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { bytes_per_second: None, windows: Vec::new(), zone: TimeZone::UTC }
    }

    /// Bytes a second at this moment.
    #[must_use]
    pub fn at(&self, moment: Timestamp) -> Option<u64> {
        let moment = jiff::Timestamp::from_microsecond(moment.as_microseconds()).unwrap_or_default();
        let time = moment.to_zoned(self.zone.clone()).time();
        let window = self.windows.iter().find(|window| window.holds(time));
        window.map_or(self.bytes_per_second, |window| window.bytes_per_second)
    }
}

impl BandwidthWindow {
    fn holds(&self, time: Time) -> bool {
        if self.from <= self.until {
            self.from <= time && time < self.until
        } else {
            self.from <= time || time < self.until
        }
    }
}

/// Lets bytes pass at a bandwidth, in the order in which they come.
pub struct Throttle {
    bandwidth: Bandwidth,
    env: Env,
    /// When the link is free again.
    free_at: Mutex<Option<Instant>>,
}

impl Throttle {
    /// Nothing has passed yet.
    #[must_use]
    pub fn new(bandwidth: Bandwidth, env: Env) -> Self {
        Self { bandwidth, env, free_at: Mutex::default() }
    }

    /// Waits until so many bytes may be sent.
    pub async fn pass(&self, length_bytes: u64) {
        let Some(rate) = self.rate() else { return };
        let wait = self.reserve(Instant::now(), length_bytes, rate);
        tokio::time::sleep(wait).await;
    }

    /// Bytes a second now.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        self.bandwidth.at(self.env.clock.now())
    }

    /// Takes the link for so many bytes; how long it is until it is theirs.
    pub(super) fn reserve(&self, now: Instant, length_bytes: u64, bytes_per_second: u64) -> Duration {
        let taken_us = u128::from(length_bytes) * 1_000_000 / u128::from(bytes_per_second.max(1));
        let taken = Duration::from_micros(u64::try_from(taken_us).unwrap_or(u64::MAX).min(86_400_000_000));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = free_at.unwrap_or(now).max(now);
        *free_at = Some(start + taken);
        start - now
    }
}
