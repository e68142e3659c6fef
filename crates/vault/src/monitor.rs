//! How far a long operation is, and how to stop it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

use crate::{Error, Result};

/// Called as work advances, with the bytes done and the bytes to do.
pub type ProgressListener = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Watches one long operation and can stop it.
#[derive(Clone, Default)]
pub struct Monitor {
    cancel: CancellationToken,
    listener: Option<ProgressListener>,
    done_bytes: Arc<AtomicU64>,
    total_bytes: Arc<AtomicU64>,
}

impl Monitor {
    /// A monitor that tells the listener, and stops the work when the token is cancelled. For one operation at a time.
    #[must_use]
    pub fn new(cancel: CancellationToken, listener: ProgressListener) -> Self {
        Self { cancel, listener: Some(listener), ..Self::default() }
    }

    pub(crate) fn begin(&self, total_bytes: u64) -> Result<()> {
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
        self.done_bytes.store(0, Ordering::Relaxed);
        self.tell()
    }

    /// More was found to do.
    pub(crate) fn extend(&self, bytes: u64) -> Result<()> {
        self.total_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.tell()
    }

    pub(crate) fn advance(&self, bytes: u64) -> Result<()> {
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.tell()
    }

    pub(crate) fn advance_to(&self, done_bytes: u64) -> Result<()> {
        self.done_bytes.store(done_bytes, Ordering::Relaxed);
        self.tell()
    }

    /// Runs work until it ends or is cancelled; cancelled work is dropped where it stands.
    pub(crate) async fn unless_cancelled<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.cancel.run_until_cancelled(work).await.unwrap_or_else(|| Err(Error::cancelled()))
    }

    /// Tells the listener, and fails when the work is no longer wanted.
    fn tell(&self) -> Result<()> {
        if let Some(listener) = &self.listener {
            listener(self.done_bytes.load(Ordering::Relaxed), self.total_bytes.load(Ordering::Relaxed));
        }
        if self.cancel.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Monitor")
            .field("cancelled", &self.cancel.is_cancelled())
            .finish_non_exhaustive()
    }
}
