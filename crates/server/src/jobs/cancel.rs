//! Somebody wants a job to stop.

use std::time::Duration;

use catalog::Job;
use model::JobState;

use super::Jobs;
use crate::failure::{Failure, Result};

impl Jobs {
    /// Asks a job to stop. One that waits for its turn has ended when this returns; one that runs ends when its work
    /// says so.
    pub(crate) async fn cancel(&self, job: Job) -> Result<Job> {
        let Some(active) = self.active(job.id) else {
            return match job.state {
                JobState::Cancelled => Ok(job),
                state => Err(Failure::conflict(format!("the job {} has ended already: it {state}", job.id))),
            };
        };
        let mut watch = active.job.subscribe();
        active.cancellation.cancel();
        // Either it is cancelled, or it got its turn in this very moment and is told.
        let left_queue = watch.wait_for(|job| job.state != JobState::Queued).await;
        Ok(left_queue.map_or(job, |job| job.clone()))
    }

    /// Ends all jobs as interrupted, and waits until they have ended, or `limit` has passed.
    pub(crate) async fn stop(&self, limit: Duration) {
        self.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!("some jobs have not ended; the next start cleans up after them");
        }
    }
}
