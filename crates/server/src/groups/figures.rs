//! How the shared checkpoints of a group went.

use std::{collections::VecDeque, time::Duration};

use journal::Sequence;
use model::{Timestamp, VmId};

/// Shared checkpoints on their way that are remembered. Where more are, every second is forgotten.
const ON_WAY_MAX: usize = 3600;

/// The holds that are remembered.
const HOLDS_MAX: usize = 1024;

/// A shared checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) at: Timestamp,
}

struct OnWay {
    checkpoint: Numbered,
    records: Vec<(VmId, Sequence)>,
}

/// How the shared checkpoints of a group went, since the server started.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) made: u64,
    pub(super) missed: u64,
    /// The newest that was made.
    pub(super) newest: Option<Numbered>,
    /// The newest that the other site durably has of all members.
    pub(super) newest_there: Option<Numbered>,
    /// Why the last attempt came to nothing; none where it did not.
    pub(super) trouble: Option<String>,
    /// The last one that came to nothing, and why.
    pub(super) last_missed: Option<(Timestamp, String)>,
    on_way: VecDeque<OnWay>,
    holds: VecDeque<Duration>,
}

/// How long acknowledgements were held, over the last thousand shared checkpoints.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holds {
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) longest: Duration,
}

impl Figures {
    /// One was made.
    pub(super) fn note_made(&mut self, checkpoint: Numbered, records: Vec<(VmId, Sequence)>, held: Duration) {
        self.made += 1;
        (self.newest, self.trouble) = (Some(checkpoint), None);
        self.on_way.push_back(OnWay { checkpoint, records });
        if self.on_way.len() > ON_WAY_MAX {
            let mut place = 0;
            self.on_way.retain(|_| {
                place += 1;
                place % 2 == 0
            });
        }
        self.holds.push_back(held);
        if self.holds.len() > HOLDS_MAX {
            self.holds.pop_front();
        }
    }

    /// None was made now.
    pub(super) fn note_missed(&mut self, at: Timestamp, why: String) {
        self.missed += 1;
        self.last_missed = Some((at, why.clone()));
        self.trouble = Some(why);
    }

    /// Sees which of them the other site has by now.
    pub(super) fn settle(&mut self, durable_through: impl Fn(VmId) -> Option<Sequence>) {
        while let Some(first) = self.on_way.front()
            && first.records.iter().all(|(vm, record)| durable_through(*vm) >= Some(*record))
        {
            self.newest_there = Some(first.checkpoint);
            self.on_way.pop_front();
        }
    }

    pub(super) fn holds(&self) -> Option<Holds> {
        let mut holds: Vec<_> = self.holds.iter().copied().collect();
        holds.sort_unstable();
        let at = |percent: usize| holds.get((holds.len().saturating_sub(1)) * percent / 100).copied();
        Some(Holds { p50: at(50)?, p99: at(99)?, longest: at(100)? })
    }
}

#[cfg(test)]
mod tests {
    use super::{Figures, Numbered};
    use journal::Sequence;
    use model::{Timestamp, VmId};
    use std::time::Duration;

    fn vm(number: u8) -> VmId {
        VmId::from_random([number; 10])
    }

    #[test]
    fn what_every_member_has_there_is_the_newest_there() {
        let mut figures = Figures::default();
        for number in 1..=3 {
            let at = Timestamp::from_microseconds(number as i64);
            let records = vec![(vm(1), Sequence(number * 10)), (vm(2), Sequence(number * 5))];
            figures.note_made(Numbered { number, at }, records, Duration::from_millis(number));
        }
        figures.settle(|_| None);
        assert_eq!(figures.newest_there, None);
        figures.settle(|member| Some(Sequence(if member == vm(1) { 30 } else { 14 })));
        assert_eq!(figures.newest_there.map(|it| it.number), Some(2));
        figures.settle(|_| Some(Sequence(100)));
        assert_eq!(figures.newest_there, figures.newest);
        let holds = figures.holds().unwrap();
        assert_eq!((holds.p50, holds.longest), (Duration::from_millis(2), Duration::from_millis(3)));
    }

    #[test]
    fn a_miss_is_told_until_one_is_made() {
        let mut figures = Figures::default();
        figures.note_missed(Timestamp::from_microseconds(1), "db is copied".to_owned());
        assert_eq!(figures.trouble.as_deref(), Some("db is copied"));
        let made = Numbered { number: 1, at: Timestamp::from_microseconds(2) };
        figures.note_made(made, Vec::new(), Duration::ZERO);
        assert!(figures.trouble.is_none() && figures.last_missed.is_some());
    }
}
