//! A job moves on.

use std::sync::Arc;

use model::{JobId, Progress};
use protection::Monitor;
use tokio_util::sync::CancellationToken;

use super::ActiveJob;

/// More warnings than this tell nobody anything more.
const WARNING_LIMIT: usize = 100;

/// What a job's work tells of itself.
pub(crate) struct JobMonitor {
    active: Arc<ActiveJob>,
}

impl JobMonitor {
    pub(super) fn new(active: Arc<ActiveJob>) -> Self {
        Self { active }
    }

    /// The job.
    pub(crate) fn job_id(&self) -> JobId {
        self.active.job.borrow().id
    }

    /// Says what the job does now, where bytes are not counted.
    pub(crate) fn phase(&self, phase: impl Into<String>) {
        self.active.enter_phase(phase.into());
    }
}

impl Monitor for JobMonitor {
    fn progress(&self, progress: Progress) {
        self.active.job.send_modify(|job| job.progress = progress);
    }

    fn warn(&self, warning: String) {
        tracing::warn!(job = %self.active.job.borrow().id, warning);
        self.active.job.send_modify(|job| {
            if job.warnings.len() < WARNING_LIMIT {
                job.warnings.push(warning);
            }
        });
    }

    fn cancellation(&self) -> &CancellationToken {
        &self.active.cancellation
    }
}

impl ActiveJob {
    pub(super) fn enter_phase(&self, phase: String) {
        self.job.send_modify(|job| job.progress = Progress { phase, done_bytes: 0, total_bytes: None });
    }
}
