//! The recovery point objective as it was: a day of it, in a histogram of fixed size.

use model::Timestamp;
use serde::{Deserialize, Serialize};

const HOURS: usize = 24;
const HOUR_US: i64 = 3_600_000_000;

/// Four buckets to each doubling, from a quarter of a second to about 50 days.
const BUCKETS: usize = 100;
const BUCKETS_A_DOUBLING: f64 = 4.0;
const FIRST_SECONDS: f64 = 0.25;

/// How old the newest durable checkpoint was, looked at again and again, over the last 24 hours.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpoHistory {
    hours: Vec<Hour>,
}

/// The looks of one hour: which, and how many fell into each bucket, as pairs of bucket and count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Hour {
    number: i64,
    counts: Vec<(u8, u32)>,
}

impl RpoHistory {
    /// Notes that at this moment the newest durable checkpoint was so old.
    pub fn note(&mut self, now: Timestamp, rpo_seconds: f64) {
        let number = now.as_microseconds().div_euclid(HOUR_US);
        let oldest = number - HOURS as i64;
        // A clock that was set back makes hours that are still to come; they would never go.
        self.hours.retain(|hour| hour.number > oldest && hour.number <= number);
        let place = match self.hours.iter().position(|hour| hour.number == number) {
            Some(place) => place,
            None => {
                self.hours.push(Hour { number, counts: Vec::new() });
                self.hours.len() - 1
            }
        };
        let Some(hour) = self.hours.get_mut(place) else { return };
        let bucket = bucket(rpo_seconds);
        match hour.counts.iter_mut().find(|(known, _)| *known == bucket) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => hour.counts.push((bucket, 1)),
        }
    }

    /// What the RPO did not exceed in 99 of 100 looks of the last day, in seconds, to within a fifth; none without looks.
    #[must_use]
    pub fn p99_seconds(&self, now: Timestamp) -> Option<f64> {
        let number = now.as_microseconds().div_euclid(HOUR_US);
        let recent = self.hours.iter().filter(|hour| hour.number > number - HOURS as i64);
        let mut sums = [0_u64; BUCKETS];
        for (bucket, count) in recent.flat_map(|hour| &hour.counts) {
            if let Some(sum) = sums.get_mut(usize::from(*bucket)) {
                *sum += u64::from(*count);
            }
        }
        let total: u64 = sums.iter().sum();
        let mut seen = 0;
        let place = sums.iter().position(|count| {
            seen += count;
            total > 0 && seen * 100 >= total * 99
        });
        place.map(|place| FIRST_SECONDS * (place as f64 / BUCKETS_A_DOUBLING).exp2())
    }
}

/// The bucket whose upper bound is the first that is not below.
fn bucket(seconds: f64) -> u8 {
    let place = ((seconds.max(FIRST_SECONDS) / FIRST_SECONDS).log2() * BUCKETS_A_DOUBLING - 1e-9).ceil();
    place.clamp(0.0, (BUCKETS - 1) as f64) as u8
}

#[cfg(test)]
mod tests {
    use super::RpoHistory;
    use model::Timestamp;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_microseconds(seconds * 1_000_000)
    }

    #[test]
    fn one_bad_look_in_a_hundred_does_not_count_and_two_do() {
        let mut history = RpoHistory::default();
        assert_eq!(history.p99_seconds(at(0)), None);
        (0..99).for_each(|second| history.note(at(second), 1.0));
        history.note(at(99), 1000.0);
        assert_eq!(history.p99_seconds(at(100)), Some(1.0));
        history.note(at(100), 1000.0);
        let p99 = history.p99_seconds(at(100)).unwrap();
        assert!((1000.0..1200.0).contains(&p99), "{p99}");
    }

    #[test]
    fn a_day_later_it_is_forgotten_and_the_size_stays() {
        let mut history = RpoHistory::default();
        for second in 0..200_000_i64 {
            history.note(at(second), (second % 50_000) as f64);
        }
        assert!(history.hours.len() <= 24);
        let size_bytes: usize = history.hours.iter().map(|hour| hour.counts.len() * 8).sum();
        assert!(size_bytes < 20_000, "{size_bytes}");
        assert_eq!(history.p99_seconds(at(200_000 + 86_400 * 2)), None);
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nothing_for_ever() {
        let mut history = RpoHistory::default();
        history.note(at(1_000_000), 5000.0);
        history.note(at(0), 1.0);
        assert_eq!(history.p99_seconds(at(0)), Some(1.0));
        history.note(at(1), f64::NAN);
        history.note(at(1), -5.0);
    }
}
