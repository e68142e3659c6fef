//! How fast something goes.

use std::time::Duration;

/// What is older than this has all but no weight.
const MEMORY: Duration = Duration::from_secs(30);

/// The rate of a count that only grows, smoothed over about half a minute.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meter {
    last: Option<(Duration, u64)>,
    per_second: f64,
}

impl Meter {
    /// Notes the count at a moment. A count that went back began anew, and a moment that does says nothing.
    pub fn note(&mut self, now: Duration, count: u64) {
        let Some((then, before)) = self.last else {
            self.last = Some((now, count));
            return;
        };
        let passed = now.saturating_sub(then).as_secs_f64();
        if passed <= 0.0 {
            return;
        }
        let rate = count.saturating_sub(before) as f64 / passed;
        let weight = 1.0 - (-passed / (MEMORY.as_secs_f64() / 3.0)).exp();
        self.per_second += (rate - self.per_second) * weight;
        self.last = Some((now, count));
    }

    /// The rate, a second.
    #[must_use]
    pub fn per_second(&self) -> u64 {
        self.per_second.round() as u64
    }
}

/// How long it takes until nothing is behind, at these rates; none when it never comes so far.
#[must_use]
pub fn seconds_to_in_sync(behind_bytes: u64, link_per_second: u64, written_per_second: u64) -> Option<u64> {
    if behind_bytes == 0 {
        return Some(0);
    }
    let gain = link_per_second.checked_sub(written_per_second).filter(|gain| *gain > 0)?;
    Some(behind_bytes.div_ceil(gain))
}

#[cfg(test)]
mod tests {
    use super::{Meter, seconds_to_in_sync};
    use std::time::Duration;

    #[test]
    fn a_steady_count_shows_its_rate_and_one_that_stands_still_none() {
        let mut meter = Meter::default();
        let second = |number| Duration::from_secs(number);
        (0..100).for_each(|number| meter.note(second(number), number * 1000));
        assert!((990..=1000).contains(&meter.per_second()), "{}", meter.per_second());
        meter.note(second(100), 0);
        (101..200).for_each(|number| meter.note(second(number), 0));
        assert_eq!(meter.per_second(), 0);
    }

    #[test]
    fn an_estimate_is_given_only_where_the_link_gains() {
        assert_eq!(seconds_to_in_sync(1000, 100, 50), Some(20));
        assert_eq!(seconds_to_in_sync(1000, 50, 50), None);
        assert_eq!(seconds_to_in_sync(0, 0, 50), Some(0));
    }
}
