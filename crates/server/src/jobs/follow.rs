//! Looking at jobs, once or all the way to their end.

use std::time::Duration;

use catalog::Job;
use futures::{Stream, stream};
use tokio::{sync::watch, time};

use super::Jobs;
use crate::failure::{Failure, Result};

/// The time between two states that a follower is told.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

impl Jobs {
    /// The newest jobs, newest first.
    pub(crate) async fn list(&self, limit: u32) -> Result<Vec<Job>> {
        let mut jobs = self.catalog.jobs(limit).await?;
        for job in &mut jobs {
            self.bring_up_to_date(job).await?;
        }
        Ok(jobs)
    }

    /// One job, by id, by a unique start of one, or as `latest`.
    pub(crate) async fn find(&self, text: &str) -> Result<Job> {
        let mut found = match text {
            "latest" => self.catalog.jobs(1).await?,
            "" => Vec::new(),
            prefix => self.catalog.jobs_starting_with(prefix, 2).await?,
        };
        if found.len() > 1 {
            return Err(Failure::invalid(format!("several jobs have an id that starts with {text}"))
                .with_hint("write more of the id"));
        }
        let mut job = found.pop().ok_or_else(|| {
            Failure::not_found(format!("there is no job {text}"))
                .with_hint("see them with: holdfast job list")
        })?;
        self.bring_up_to_date(&mut job).await?;
        Ok(job)
    }

    /// A job's state now, then each change that is not too soon after the last, and its end.
    pub(crate) async fn follow(&self, mut job: Job) -> Result<impl Stream<Item = Job> + Send + use<>> {
        let watch = match self.active(job.id) {
            Some(active) => active.job.subscribe(),
            None => {
                self.bring_up_to_date(&mut job).await?;
                watch::Sender::new(job).subscribe()
            }
        };
        Ok(stream::unfold(Next::Now(watch), |next| async move {
            let mut watch = match next {
                Next::Now(watch) => watch,
                Next::AfterChange(mut watch) => {
                    time::sleep(FOLLOW_INTERVAL).await;
                    watch.changed().await.ok()?;
                    watch
                }
                Next::Never => return None,
            };
            let job = watch.borrow_and_update().clone();
            let next = if job.state.is_final() { Next::Never } else { Next::AfterChange(watch) };
            Some((job, next))
        }))
    }

    /// The catalog lags behind a job at work, and a job may end while it is looked up. Its end is in the catalog before it
    /// leaves the active jobs.
    async fn bring_up_to_date(&self, job: &mut Job) -> Result<()> {
        if let Some(active) = self.active(job.id) {
            *job = active.job.borrow().clone();
        } else if !job.state.is_final()
            && let Some(ended) = self.catalog.jobs_starting_with(job.id.as_str(), 1).await?.pop()
        {
            *job = ended;
        }
        Ok(())
    }
}

enum Next {
    Now(watch::Receiver<Job>),
    AfterChange(watch::Receiver<Job>),
    Never,
}
