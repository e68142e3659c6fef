//! The life of a job, from its place in the queue to its end.

use std::{sync::Arc, time::Duration};

use api::{Code, Problem};
use catalog::Job;
use model::{JobState, Progress};
use tokio::time::{self, MissedTickBehavior};

use super::{ActiveJob, JobMonitor, Jobs, Outcome, Ticket, Work, WorkFailure, submit::waiting_for};
use crate::failure::Failure;

/// How often a running job's progress is written to the catalog, beside each new phase, for whoever looks after a crash.
const KEEP_INTERVAL: Duration = Duration::from_secs(5);

impl Jobs {
    pub(super) async fn live(self: Arc<Self>, active: Arc<ActiveJob>, ticket: Ticket, work: Work) {
        let waiting =
            ticket.begin(|blocker| active.job.send_modify(|job| job.progress = waiting_for(blocker)));
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
        let mut watch = active.job.subscribe();
        let mut phase = String::new();
        loop {
            tokio::select! {
                ended = &mut work => return ended.unwrap_or_else(|_| Err(panicked())),
                _ = keep.tick() => { self.keep(active).await; }
                _ = watch.changed() => {
                    let now = watch.borrow_and_update().progress.phase.clone();
                    if now != phase {
                        phase = now;
                        self.keep(active).await;
                    }
                }
            }
        }
    }

    /// Settles what became of the job: in the catalog first, then for everyone who watches.
    async fn end(&self, active: &ActiveJob, outcome: Outcome) {
        let mut job = active.job.borrow().clone();
        job.ended_at = Some(self.env.clock.now());
        let (result, failure) = match outcome {
            Ok(result) => (Some(Box::new(result)), None),
            Err(WorkFailure { failure, result }) => (result, Some(failure)),
        };
        job.result = result.and_then(|result| serde_json::to_value(result).ok());
        let problem = match failure.map(Failure::into_problem) {
            Some(problem) if problem.code == Code::Cancelled && self.stopping.is_cancelled() => {
                let Problem { hint, .. } = interrupted(&job);
                Some(Problem { hint: problem.hint.or(hint), ..interrupted(&job) })
            }
            problem => problem,
        };
        job.state = match &problem {
            None => JobState::Succeeded,
            Some(problem) if problem.code == Code::Cancelled => JobState::Cancelled,
            Some(_) => JobState::Failed,
        };
        let reason = problem.as_ref().map(|problem| problem.detail.as_str());
        tracing::info!(job = %job.id, state = %job.state, reason, "a job ended");
        let told = problem.filter(|_| job.state == JobState::Failed);
        job.problem = told.and_then(|problem| serde_json::to_value(problem).ok());

        let kept = self.catalog.update_job(&job).await;
        let id = job.id;
        active.job.send_replace(job);
        match kept {
            Ok(()) => drop(self.lock().remove(&id)),
            // It stays among the active jobs, so that this server at least tells the truth of it.
            Err(error) => {
                tracing::error!(job = %id, %error, "a job's end could not be written to the catalog")
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
    let detail = match (job.started_at, job.progress.phase.as_str()) {
        (None, _) => "the server was stopped before the job began".to_owned(),
        (Some(_), "") => "the server was stopped as the job began".to_owned(),
        (Some(_), phase) => format!("the server was stopped in the middle of the job: {phase}"),
    };
    Problem::new(Code::Interrupted, detail)
        .with_hint("ask for it again; what was half done is cleaned up first")
}
