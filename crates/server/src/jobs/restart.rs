//! What a dead server left behind.

use catalog::Job;
use model::JobState;

use super::{Jobs, run::interrupted};
use crate::failure::Result;

impl Jobs {
    /// Ends the jobs that an earlier server did not end, and returns them. To be called before the first is submitted.
    pub(crate) async fn end_interrupted(&self) -> Result<Vec<Job>> {
        let mut ended = self.catalog.unfinished_jobs().await?;
        for job in &mut ended {
            job.state = JobState::Failed;
            job.ended_at = Some(self.env.clock.now());
            job.problem = serde_json::to_value(interrupted(job)).ok();
            self.catalog.update_job(job).await?;
            tracing::warn!(job = %job.id, kind = %job.kind, subject = job.subject, "a job was interrupted");
        }
        Ok(ended)
    }
}
