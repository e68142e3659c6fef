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
        let jobs = self.catalog.jobs(limit).await?;
        Ok(jobs.into_iter().map(|job| self.live_state(job)).collect())
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
        let job = found.pop().ok_or_else(|| {
            Failure::not_found(format!("there is no job {text}"))
                .with_hint("see them with: holdfast job list")
        })?;
        Ok(self.live_state(job))
    }

    /// A job's state now, then each change that is not too soon after the last, and its end.
    pub(crate) fn follow(&self, job: Job) -> impl Stream<Item = Job> + Send + use<> {
        let watch = match self.active(job.id) {
            Some(active) => active.job.subscribe(),
            None => watch::Sender::new(job).subscribe(),
        };
        stream::unfold(Next::Now(watch), |next| async move {
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
        })
    }

    fn live_state(&self, job: Job) -> Job {
        self.active(job.id).map_or(job, |active| active.job.borrow().clone())
    }
}

enum Next {
    Now(watch::Receiver<Job>),
    AfterChange(watch::Receiver<Job>),
    Never,
}
