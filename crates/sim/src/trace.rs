//! What happened, in order: the last of it to be read by people, all of it as one number.

use std::{
    collections::VecDeque,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Events that are kept to be shown.
const KEPT: usize = 4000;

/// One thing that happened.
#[derive(Debug, Clone, Hash)]
struct Event {
    at: Duration,
    who: String,
    what: String,
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:>14.3} s  {:<12} {}", self.at.as_secs_f64(), self.who, self.what)
    }
}

/// The events of one world.
#[derive(Debug)]
pub(crate) struct Trace {
    start: Instant,
    events: Mutex<Events>,
}

#[derive(Debug, Default)]
struct Events {
    last: VecDeque<Event>,
    /// Two runs of one seed have the same.
    digest: u64,
    count: u64,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), events: Mutex::default() }
    }

    /// Time since the world began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn add(&self, who: &str, what: impl Into<String>) {
        let event = Event { at: self.elapsed(), who: who.to_owned(), what: what.into() };
        let mut events = self.lock();
        let mut hasher = DefaultHasher::new();
        (events.digest, &event).hash(&mut hasher);
        events.digest = hasher.finish();
        events.count += 1;
        if events.last.len() == KEPT {
            events.last.pop_front();
        }
        events.last.push_back(event);
    }

    /// How many events there were.
    pub(crate) fn count(&self) -> u64 {
        self.lock().count
    }

    /// What only the same sequence of events has.
    pub(crate) fn digest(&self) -> u64 {
        self.lock().digest
    }

    /// The last events, oldest first.
    pub(crate) fn last(&self) -> Vec<String> {
        self.lock().last.iter().map(ToString::to_string).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
