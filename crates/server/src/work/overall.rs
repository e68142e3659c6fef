//! How far disks are together that are stored one after the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::Progress;
use protection::Monitor;
use tokio_util::sync::CancellationToken;

use crate::snapshots::HeldSnapshot;

/// Tells of all disks what it is told of each, in phases of their own.
pub(super) struct Overall {
    inner: Arc<dyn Monitor>,
    /// In the order in which they are stored.
    sizes_bytes: Vec<u64>,
    /// A snapshot that keeps how far it is.
    held: Option<Arc<HeldSnapshot>>,
    seen: Mutex<Seen>,
}

/// The phase that was told last, and how many had bytes that count.
#[derive(Default)]
struct Seen {
    phase: String,
    disks: usize,
}

impl Overall {
    pub(super) fn new(inner: Arc<dyn Monitor>, sizes_bytes: Vec<u64>) -> Self {
        Self { inner, sizes_bytes, held: None, seen: Mutex::default() }
    }

    /// The same for a snapshot, which keeps it too.
    pub(super) fn of_held(inner: Arc<dyn Monitor>, held: Arc<HeldSnapshot>) -> Self {
        Self { sizes_bytes: held.sizes_bytes(), held: Some(held), ..Self::new(inner, Vec::new()) }
    }

    /// What of all disks is done when so much of one is.
    fn done_bytes(&self, progress: &Progress, total_bytes: u64) -> u64 {
        let mut seen = self.seen();
        if seen.phase != progress.phase {
            seen.phase.clone_from(&progress.phase);
            seen.disks += 1;
        }
        // Where the disks are stored once more, the first one follows the last.
        let disk = seen.disks.saturating_sub(1) % self.sizes_bytes.len().max(1);
        let before: u64 = self.sizes_bytes.iter().take(disk).sum();
        let size = self.sizes_bytes.get(disk).copied().unwrap_or_default();
        let part = u128::from(size) * u128::from(progress.done_bytes.min(total_bytes))
            / u128::from(total_bytes.max(1));
        before + u64::try_from(part).unwrap_or(size)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Monitor for Overall {
    fn progress(&self, progress: Progress) {
        let Some(total_bytes) = progress.total_bytes else { return self.inner.progress(progress) };
        let done_bytes = self.done_bytes(&progress, total_bytes);
        if let Some(held) = &self.held {
            held.note(done_bytes);
        }
        self.inner.progress(Progress {
            done_bytes,
            total_bytes: Some(self.sizes_bytes.iter().sum()),
            ..progress
        });
    }

    fn warn(&self, warning: String) {
        self.inner.warn(warning);
    }

    fn cancellation(&self) -> &CancellationToken {
        self.inner.cancellation()
    }
}

#[cfg(test)]
mod tests;
