//! How long to wait after failures.

use std::time::Duration;

/// The pause after so many failures in a row: `first`, then twice as long each time, up to `longest`.
#[must_use]
pub fn pause(failures: u32, first: Duration, longest: Duration) -> Duration {
    let factor =
        1_u32.checked_shl(failures.saturating_sub(1)).filter(|factor| *factor > 0).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

#[cfg(test)]
mod tests {
    use super::pause;
    use std::time::Duration;

    #[test]
    fn pauses_grow_up_to_the_longest_whatever_the_count() {
        let of = |failures| pause(failures, Duration::from_secs(1), Duration::from_secs(300));
        assert_eq!([of(1), of(2), of(4)].map(|pause| pause.as_secs()), [1, 2, 8]);
        assert_eq!([of(0), of(32), of(33), of(u32::MAX)].map(|pause| pause.as_secs()), [1, 300, 300, 300]);
    }
}
