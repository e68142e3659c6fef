//! The life of a job, from its place in the queue to its end.

use std::{sync::Arc, time::Duration};

use api::{Code, Problem};
use catalog::Job;
use model::{JobState, Progress};
use tokio::time::{self, MissedTickBehavior};

use super::{ActiveJob, JobMonitor, Jobs, Outcome, Ticket, Work, WorkFailure};
use crate::failure::Failure;

/// How often a running job's progress is written to the catalog, for whoever looks after a crash.
const KEEP_INTERVAL: Duration = Duration::from_secs(5);

impl Jobs {
    pub(super) async fn live(self: Arc<Self>, active: Arc<ActiveJob>, ticket: Ticket, work: Work) {
        let waiting = ticket.begin(|blocker| active.enter_phase(format!("waiting for {blocker}")));
        let outcome = tokio::select! {
            biased;
            () = active.cancellation.cancelled() => Err(cancelled()),
            () = waiting => self.work(&active, work).await,
        };
        self.end(&active, outcome).await;
        drop(ticket); // not before the end is known: whoever comes next may look at it
    }

    async fn work(&self, active: &Arc<ActiveJob>, work: Work) -> Outcome {
        let now = self.env.clock.now();
        active.job.send_modify(|job| {
            job.state = JobState::Running;
            job.started_at = Some(now);
            job.progress = Progress::default();
        });
        self.keep(active).await;
        let monitor = Arc::new(JobMonitor::new(active.clone()));
        // A task of its own, so that its panic ends the job and nothing else.
        let mut work = tokio::spawn(async move { work(monitor).await });
        let mut keep = time::interval_at(time::Instant::now() + KEEP_INTERVAL, KEEP_INTERVAL);
        keep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = &mut work => return ended.unwrap_or_else(|_| Err(panicked())),
                _ = keep.tick() => { self.keep(active).await; }
            }
        }
    }

    /// Settles what became of the job: in the catalog first, then for everyone who watches.
    async fn end(&self, active: &ActiveJob, outcome: Outcome) {
        let mut job = active.job.borrow().clone();
        job.ended_at = Some(self.env.clock.now());
        let (result, failure) = match outcome {
            Ok(result) => (Some(result), None),
            Err(WorkFailure { failure, result }) => (result, Some(failure)),
        };
        job.result = result.and_then(|result| serde_json::to_value(result).ok());
        let is_cancelled = failure.as_ref().is_some_and(|failure| failure.code() == Code::Cancelled);
        (job.state, job.problem) = match failure.map(Failure::into_problem) {
            None => (JobState::Succeeded, None),
            Some(_) if is_cancelled && self.stopping.is_cancelled() => {
                (JobState::Failed, serde_json::to_value(interrupted(&job)).ok())
            }
            Some(_) if is_cancelled => (JobState::Cancelled, None),
            Some(problem) => (JobState::Failed, serde_json::to_value(problem).ok()),
        };
        let kept = self.catalog.update_job(&job).await;
        tracing::info!(job = %job.id, state = %job.state, problem = ?job.problem, "a job ended");
        let id = job.id;
        active.job.send_replace(job);
        match kept {
            Ok(()) => drop(self.lock().remove(&id)),
            // It stays among the active jobs, so that this server at least tells the truth of it.
            Err(error) => {
                tracing::error!(job = %id, %error, "the end of a job could not be written to the catalog")
            }
        }
    }

    async fn keep(&self, active: &ActiveJob) {
        let job = active.job.borrow().clone();
        if let Err(error) = self.catalog.update_job(&job).await {
            tracing::warn!(job = %job.id, %error, "the progress of a job could not be written to the catalog");
        }
    }
}

fn cancelled() -> WorkFailure {
    Failure::new(Code::Cancelled, "cancelled").into()
}

fn panicked() -> WorkFailure {
    Failure::new(Code::Failed, "a defect of Holdfast ended the job")
        .with_hint("see the server's log, and report it together with what the job did")
        .into()
}

/// The problem of a job whose server stopped.
pub(super) fn interrupted(job: &Job) -> Problem {
    let when = if job.started_at.is_some() { "in the middle of" } else { "before it began" };
    let detail = match job.started_at {
        Some(_) => format!("the server was stopped {when} the job, while {}", phase(&job.progress)),
        None => format!("the server was stopped {when}"),
    };
    Problem::new(Code::Interrupted, detail)
        .with_hint("ask for it again; what was half done is cleaned up first")
}

fn phase(progress: &Progress) -> &str {
    if progress.phase.is_empty() { "starting" } else { &progress.phase }
}
