//! Finding out what of a log is damaged.

use std::fmt;

use super::{Log, STATES, Sequence, State, start::Anchor};
use crate::{Digest, Error, Result};

/// Tries to see the log while nobody trims it.
const LOOKS: usize = 4;

/// An object of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LogPart {
    Entry(Sequence),
    State(Sequence),
}

/// What is wrong with a part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogDamage {
    pub(crate) part: LogPart,
    pub(crate) reason: String,
}

impl LogPart {
    /// The number, where it is an entry.
    pub(crate) fn entry(self) -> Option<Sequence> {
        match self {
            Self::Entry(sequence) => Some(sequence),
            Self::State(_) => None,
        }
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Entry(sequence) => sequence.entry_name(),
            Self::State(sequence) => sequence.state_name(),
        }
    }
}

impl fmt::Display for LogPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name())
    }
}

impl Log {
    /// Reads all entries and states that are there. Returns what is damaged, what is missing between them, and what does not
    /// follow from the one before it.
    pub(crate) async fn inspect(&self) -> Result<Vec<LogDamage>> {
        let mut states = self.list(STATES).await?;
        for _ in 1..LOOKS {
            let damage = self.look().await?;
            let states_after = self.list(STATES).await?;
            // What somebody trims meanwhile is no damage.
            if damage.is_empty() || states == states_after {
                return Ok(damage);
            }
            states = states_after;
        }
        self.look().await
    }

    async fn look(&self) -> Result<Vec<LogDamage>> {
        let mut found = Vec::new();
        let mut numbers = self.entry_numbers().await?;
        let mut start: Option<State> = None;
        for sequence in self.state_numbers(numbers.clone()).await? {
            match self.read_state(sequence).await? {
                // Of the newest one the entry must be there; of older ones it may have been trimmed.
                Some(Ok(state)) if self.anchor(&state).await? != Anchor::Unset => start = Some(state),
                Some(Ok(_)) | None => {}
                Some(Err(error)) => found.push(damage(LogPart::State(sequence), &error)),
            }
        }
        let start = start.unwrap_or_else(State::empty);
        let mut chain = Chain { last: start.sequence, head: Some(start.head), start: start.sequence };
        if start.sequence > Sequence(0) {
            numbers.insert(start.sequence);
        }
        for sequence in numbers {
            let found_entry = self.read_entry(sequence).await?;
            if sequence <= chain.start {
                match found_entry {
                    Some(Err(error)) => found.push(damage(LogPart::Entry(sequence), &error)),
                    None if sequence == chain.start => found.push(missing(sequence)),
                    _ => {}
                }
                continue;
            }
            let Some(entry) = found_entry else { continue };
            found.extend(chain.follow(sequence, entry.map(|(entry, digest)| (entry.previous, digest))));
        }
        Ok(found)
    }
}

/// How far the entries follow from each other.
struct Chain {
    start: Sequence,
    last: Sequence,
    /// The digest of the last entry; none when it is damaged, so that what follows cannot be told.
    head: Option<Digest>,
}

impl Chain {
    fn follow(&mut self, sequence: Sequence, entry: Result<(Digest, Digest)>) -> Vec<LogDamage> {
        let mut found = Vec::new();
        if sequence != self.last.next() {
            found.push(missing(self.last.next()));
            self.head = None;
        }
        self.last = sequence;
        self.head = match entry {
            Ok((previous, digest)) => {
                if self.head.is_some_and(|head| head != previous) {
                    let reason = "it does not follow the one before it".to_owned();
                    found.push(LogDamage { part: LogPart::Entry(sequence), reason });
                }
                Some(digest)
            }
            Err(error) => {
                found.push(damage(LogPart::Entry(sequence), &error));
                None
            }
        };
        found
    }
}

fn damage(part: LogPart, error: &Error) -> LogDamage {
    LogDamage { part, reason: error.to_string() }
}

fn missing(sequence: Sequence) -> LogDamage {
    LogDamage { part: LogPart::Entry(sequence), reason: "it is missing".to_owned() }
}
