//! Whether guests are being answered: what the watchdog is told.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How often the runtime shows that it turns, and the watchdog is told.
pub(crate) const BEAT: Duration = Duration::from_millis(100);

/// How long nobody has been answered.
#[derive(Debug)]
pub(crate) struct Pulse(Mutex<Pending>);

#[derive(Debug)]
struct Pending {
    begun: u64,
    /// Since when each request waits.
    unanswered: BTreeMap<u64, Instant>,
    turned: Instant,
}

/// A request, until this is dropped.
pub(crate) struct Unanswered<'a> {
    pulse: &'a Pulse,
    number: u64,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Pending { begun: 0, unanswered: BTreeMap::new(), turned: Instant::now() }))
    }

    /// A request begins.
    pub(crate) fn begin(&self) -> Unanswered<'_> {
        let mut pending = self.pending();
        pending.begun += 1;
        let number = pending.begun;
        pending.unanswered.insert(number, Instant::now());
        Unanswered { pulse: self, number }
    }

    /// The runtime turns.
    pub(crate) fn turn(&self) {
        self.pending().turned = Instant::now();
    }

    /// How long somebody has waited for an answer, or the runtime has not turned, whichever is longer.
    pub(crate) fn age(&self) -> Duration {
        let pending = self.pending();
        let still = pending.turned.elapsed().saturating_sub(BEAT);
        pending.unanswered.values().map(Instant::elapsed).max().unwrap_or_default().max(still)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unanswered<'_> {
    /// It waits because somebody asked for it, until then; after that it is late.
    pub(crate) fn waits_until(&self, until: Instant) {
        self.pulse.pending().unanswered.insert(self.number, until);
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.pulse.pending().unanswered.remove(&self.number);
    }
}
