//! How fast, how much at once, and after which pauses parts are sent.

use std::time::Duration;

use model::{ByteCount, RateWindow, ReplicationSettings};
use peer::{
    replicas::PARTS_BYTES,
    send::{Bandwidth, BandwidthWindow},
};

/// The least that is sent at once.
const BATCH_MIN_BYTES: u64 = 64 << 10;

/// A request should take about this long: shorter wastes round trips, longer makes checkpoints late.
const BATCH_GOAL: Duration = Duration::from_millis(500);

/// How much is sent at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch(u64);

impl Default for Batch {
    fn default() -> Self {
        Self(1 << 20)
    }
}

impl Batch {
    /// How much, where no more than so many bytes may go in a second.
    pub(super) fn bytes(self, bytes_per_second: Option<u64>) -> u64 {
        bytes_per_second.map_or(self.0, |limit| self.0.min(limit)).clamp(BATCH_MIN_BYTES, PARTS_BYTES)
    }

    /// After a full one took so long.
    pub(super) fn took(&mut self, time: Duration) {
        self.0 = match time {
            time if time < BATCH_GOAL / 2 => self.0 * 2,
            time if time > BATCH_GOAL * 2 => self.0 / 2,
            _ => self.0,
        }
        .clamp(BATCH_MIN_BYTES, PARTS_BYTES);
    }
}

/// How fast is sent, by this host's time of day.
pub(super) fn bandwidth(settings: &ReplicationSettings) -> Bandwidth {
    let rate = |rate: Option<ByteCount>| rate.map(|rate| rate.0);
    let window = |window: &RateWindow| BandwidthWindow {
        from: time(window.from_minutes),
        until: time(window.until_minutes),
        bytes_per_second: rate(window.bytes_per_second),
    };
    Bandwidth {
        bytes_per_second: rate(settings.rate_limit_bytes_per_second),
        windows: settings.rate_windows.iter().map(window).collect(),
        zone: jiff::tz::TimeZone::system(),
    }
}

fn time(minutes: u16) -> jiff::civil::Time {
    // What is no time of day is no window that was ever read.
    jiff::civil::Time::new((minutes / 60) as i8, (minutes % 60) as i8, 0, 0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{ByteCount, ReplicationSettings};
    use peer::{replicas::PARTS_BYTES, send::Bandwidth};

    use super::{BATCH_MIN_BYTES, Batch, bandwidth};

    #[test]
    fn batches_follow_the_link_within_their_bounds() {
        let mut batch = Batch::default();
        (0..10).for_each(|_| batch.took(Duration::from_millis(10)));
        assert_eq!(batch.bytes(None), PARTS_BYTES);
        assert_eq!(batch.bytes(Some(500_000)), 500_000);
        (0..20).for_each(|_| batch.took(Duration::from_secs(5)));
        assert_eq!((batch.bytes(None), batch.bytes(Some(1))), (BATCH_MIN_BYTES, BATCH_MIN_BYTES));
    }

    #[test]
    fn the_first_window_that_holds_the_time_counts() {
        let settings = ReplicationSettings {
            rate_limit_bytes_per_second: Some(ByteCount(1)),
            rate_windows: vec!["08:00-18:00=2B".parse().unwrap(), "00:00-09:00=full".parse().unwrap()],
            ..ReplicationSettings::default()
        };
        let bandwidth = Bandwidth { zone: jiff::tz::TimeZone::UTC, ..bandwidth(&settings) };
        let at = |text: &str| bandwidth.at(text.parse().unwrap());
        assert_eq!(at("2026-03-01T08:30:00Z"), Some(2));
        assert_eq!(at("2026-03-01T07:59:59Z"), None);
        assert_eq!(at("2026-03-01T18:00:00Z"), Some(1));
    }
}
