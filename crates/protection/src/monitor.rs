//! Who watches an operation.

use std::sync::Arc;

use model::Progress;
use tokio_util::sync::CancellationToken;

/// Who watches an operation, and may ask it to stop.
pub trait Monitor: Send + Sync {
    /// The operation is this far. Called often; must be cheap.
    fn progress(&self, progress: Progress);

    /// Something that the operator should know although the operation goes on: one sentence.
    fn warn(&self, warning: String);

    /// Cancelled when the operation is to stop; it then ends with [`crate::ErrorKind::Cancelled`].
    fn cancellation(&self) -> &CancellationToken;
}

impl dyn Monitor + '_ {
    /// Announces a phase in which bytes are not counted.
    pub(crate) fn phase(&self, phase: impl Into<String>) {
        self.progress(Progress { phase: phase.into(), done_bytes: 0, total_bytes: None });
    }
}

/// The vault's monitor for one step of an operation, which reports as the phase of that name.
#[must_use]
pub fn vault_monitor(monitor: &Arc<dyn Monitor>, phase: String) -> vault::Monitor {
    let cancellation = monitor.cancellation().clone();
    let monitor = Arc::clone(monitor);
    let listener = move |done_bytes, total_bytes| {
        monitor.progress(Progress { phase: phase.clone(), done_bytes, total_bytes: Some(total_bytes) });
    };
    vault::Monitor::new(cancellation, Arc::new(listener))
}
