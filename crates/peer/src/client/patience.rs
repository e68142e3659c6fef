//! How often a call is made again.

use std::time::Duration;

/// How long a caller puts up with a peer that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long it waits in all between its attempts.
    pub total: Duration,
    /// The wait after the first attempt; each one after it is twice as long.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
}

impl Patience {
    /// One attempt.
    pub const NONE: Self =
        Self { total: Duration::ZERO, first_wait: Duration::ZERO, longest_wait: Duration::ZERO };

    /// The waits between attempts, until they are used up.
    pub(super) fn waits(self) -> impl Iterator<Item = Duration> {
        let (mut left, mut next) = (self.total, self.first_wait);
        std::iter::from_fn(move || {
            let wait = next.min(self.longest_wait).min(left);
            left = left.saturating_sub(wait);
            next = next.saturating_mul(2);
            (!wait.is_zero()).then_some(wait)
        })
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(15),
            first_wait: Duration::from_millis(200),
            longest_wait: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests;
