//! What a dead server left behind.

use api::Problem;
use catalog::Job;
use model::JobState;

use super::{Jobs, run::interrupted};
use crate::failure::Result;

impl Jobs {
    /// The jobs that an earlier server did not end. To be asked before the first is submitted.
    pub(crate) async fn interrupted(&self) -> Result<Vec<Job>> {
        Ok(self.catalog.unfinished_jobs().await?)
    }

    /// Ends interrupted jobs, once what they left on the host is gone: a crash before this begins the clean-up again. What
    /// to do about a job is the usual where nothing better is known.
    pub(crate) async fn end_interrupted(
        &self,
        jobs: &mut [Job],
        hint: impl Fn(&Job) -> Option<String>,
    ) -> Result<()> {
        for job in jobs {
            job.state = JobState::Failed;
            job.ended_at = Some(self.env.clock.now());
            let usual = interrupted(job);
            let problem = Problem { hint: hint(job).or(usual.hint.clone()), ..usual };
            job.problem = serde_json::to_value(problem).ok();
            self.catalog.update_job(job).await?;
            tracing::warn!(job = %job.id, kind = %job.kind, subject = job.subject, "a job was interrupted");
        }
        Ok(())
    }
}
