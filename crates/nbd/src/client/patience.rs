//! How long a server may be silent.

use std::time::Duration;

use crate::codec::transmission::Command;

/// How long a server may say nothing while requests wait for an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// While any request waits.
    pub(super) request: Duration,
    /// While a flush waits: a slow disk may have gigabytes to write.
    pub(super) flush: Duration,
}

impl Patience {
    pub(super) const DEFAULT: Self =
        Self { request: Duration::from_secs(120), flush: Duration::from_secs(1800) };

    /// The limit while these commands wait; none when nothing waits.
    pub(super) fn limit(self, waiting: impl Iterator<Item = Command>) -> Option<Duration> {
        waiting.map(|command| if command == Command::FLUSH { self.flush } else { self.request }).max()
    }

    pub(super) fn shortest(self) -> Duration {
        self.request.min(self.flush)
    }
}
