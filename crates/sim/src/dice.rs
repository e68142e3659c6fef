//! The only source of chance in a simulation.

use std::{ops::Range, time::Duration};

use env::{Entropy, SeededEntropy};

/// Repeatable chance. Everybody who draws has dice of its own, so that one more draw here changes nothing there.
#[derive(Debug)]
pub(crate) struct Dice(SeededEntropy);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    /// Dice for somebody else.
    pub(crate) fn fork(&self) -> Self {
        Self::new(self.roll())
    }

    pub(crate) fn roll(&self) -> u64 {
        u64::from_le_bytes(env::random(&self.0))
    }

    /// Fills a buffer, for ids.
    pub(crate) fn bytes<const LENGTH: usize>(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        self.0.fill(&mut bytes);
        bytes
    }

    /// A number of the range, which is not empty.
    pub(crate) fn number(&self, range: Range<u64>) -> u64 {
        range.start + self.roll() % (range.end - range.start).max(1)
    }

    /// A duration between two, short ones more often than long ones.
    pub(crate) fn duration(&self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_micros() as u64;
        let part = self.number(0..1001) * self.number(0..1001) / 1000;
        least + Duration::from_micros(span / 1000 * part)
    }

    /// True so many times in a thousand.
    pub(crate) fn chance(&self, per_mille: u32) -> bool {
        self.roll() % 1000 < u64::from(per_mille)
    }

    pub(crate) fn pick<'a, T>(&self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.number(0..choices.len() as u64) as usize)
    }
}
