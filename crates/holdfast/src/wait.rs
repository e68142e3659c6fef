//! Waiting for jobs.

mod progress;

use std::{future, time::Duration};

use api::{Client, JobResult, JobView};
use model::{JobId, JobState};

pub use self::progress::{Progress, TransferProgress};
use crate::{
    context::Context,
    exit::Exit,
    failure::Failure,
    output::{Tone, tell},
};

/// How a command that starts a job ends.
#[derive(Debug, clap::Args)]
pub struct WaitArguments {
    /// Wait until the job has ended, and print what it did. This is the default.
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Print the job and end; the server goes on with it.
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
    #[command(flatten)]
    timeout: TimeoutArgument,
}

/// How long a command waits for a job.
#[derive(Debug, clap::Args)]
pub struct TimeoutArgument {
    /// The longest wait, as in 90s or 2h; then the exit code is 9, and the job goes on.
    #[arg(long, value_name = "DURATION", value_parser = crate::arguments::duration)]
    timeout: Option<Duration>,
}

impl WaitArguments {
    /// Waits for the job, where that is wanted, and prints what it did.
    pub async fn finish(&self, context: &Context, job: &JobView) -> Result<(), Failure> {
        if self.no_wait {
            context.output.one(job)?;
            context.note(&format!("the job goes on; {}", advice(context, job.id)));
            return Ok(());
        }
        self.timeout.watch(context, job).await
    }

    /// The same for several jobs, which are printed as a list once all have ended. Fails as the first of them that failed.
    pub async fn finish_all(&self, context: &Context, jobs: &[JobView]) -> Result<(), Failure> {
        if self.no_wait {
            context.output.list(jobs, "nothing was to be done")?;
            context.note("the jobs go on; see them with: holdfast job list");
            return Ok(());
        }
        let mut ended = Vec::with_capacity(jobs.len());
        for job in jobs {
            ended.push(self.timeout.end_of(context, job).await?);
        }
        context.output.list(&ended, "nothing was to be done")?;
        ended.iter().try_for_each(check)
    }
}

impl TimeoutArgument {
    /// Shows a job's progress until it has ended, and then what it did.
    pub async fn watch(&self, context: &Context, job: &JobView) -> Result<(), Failure> {
        conclude(context, &self.end_of(context, job).await?)
    }

    /// Shows a job's progress until it has ended well, and leaves it to the caller to print what it did.
    pub async fn watch_quietly(&self, context: &Context, job: &JobView) -> Result<JobView, Failure> {
        let ended = self.end_of(context, job).await?;
        check(&ended)?;
        Ok(ended)
    }

    async fn end_of(&self, context: &Context, job: &JobView) -> Result<JobView, Failure> {
        let mut progress = Progress::new(&context.output);
        let goes_on = |exit, what: String| {
            Err(Failure::new(exit, format!("{what}; job {} goes on", job.id))
                .with_hint(advice(context, job.id)))
        };
        let ended = tokio::select! {
            ended = follow(&context.client, job, &mut progress) => ended,
            waited = elapsed(self.timeout) => {
                goes_on(Exit::TimedOut, format!("the job has not ended within {waited:?}"))
            }
            Ok(()) = tokio::signal::ctrl_c() => goes_on(Exit::Interrupted, "interrupted".to_owned()),
        };
        progress.finish();
        match ended {
            Ok(job) => Ok(job),
            Err(failure) if failure.exit == Exit::Unreachable => Err(failure.with_hint(format!(
                "the job's state is kept; once the server runs again: {}",
                context.command(&format!("job watch {}", job.id))
            ))),
            Err(failure) => Err(failure),
        }
    }
}

async fn elapsed(limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            tokio::time::sleep(limit).await;
            limit
        }
        None => future::pending().await,
    }
}

/// What a person can do about a job that goes on.
fn advice(context: &Context, job: JobId) -> String {
    format!(
        "watch it: {}, or cancel it: {}",
        context.command(&format!("job watch {job}")),
        context.command(&format!("job cancel {job}"))
    )
}

async fn follow(client: &Client, job: &JobView, progress: &mut Progress) -> Result<JobView, Failure> {
    progress.observe(job);
    let mut events = client.job_events(job.id).await?;
    while let Some(job) = events.next().await? {
        progress.observe(&job);
        if job.state.is_final() {
            return Ok(job);
        }
    }
    // The events broke off: the job may have ended just then.
    let job = client.job(job.id.as_str()).await?;
    if job.state.is_final() {
        return Ok(job);
    }
    Err(Failure::new(Exit::Unreachable, format!("the server stopped telling about job {}", job.id)))
}

/// Prints what an ended job did, and fails where it failed.
fn conclude(context: &Context, job: &JobView) -> Result<(), Failure> {
    match &job.result {
        Some(JobResult::Point(point)) => context.output.one(&**point)?,
        Some(JobResult::Snapshot(snapshot)) => context.output.one(&**snapshot)?,
        Some(JobResult::SnapshotCopied(copy)) => context.output.one(copy)?,
        Some(JobResult::RestoredVm(vm)) => {
            context.output.one(vm)?;
            if let Some(job) = vm.hydration_job {
                let watch = context.command(&format!("job watch {job}"));
                context.note(&format!("its disks become whole meanwhile; watch it: {watch}"));
            }
        }
        Some(JobResult::CreatedDisk(disk)) => context.output.one(disk)?,
        Some(JobResult::HandedOver(vm)) => context.output.one(vm)?,
        Some(JobResult::PlanRun(run)) => context.output.one(&**run)?,
        Some(JobResult::Drilled(drill)) => context.output.one(&**drill)?,
        Some(JobResult::HandedOverGroup(group)) => context.output.one(group)?,
        Some(JobResult::Hydrated(hydrated)) => context.output.one(hydrated)?,
        Some(JobResult::Tested(test)) => context.output.one(test)?,
        Some(JobResult::RunbookTested(test)) => context.output.one(&**test)?,
        Some(JobResult::RestoredDisk(disk)) => context.output.one(disk)?,
        Some(JobResult::RestoredInPlace(vm)) => context.output.one(vm)?,
        Some(JobResult::RestoredFiles(restored)) => context.output.one(restored)?,
        Some(JobResult::Exported(exported)) => context.output.one(exported)?,
        Some(JobResult::Verified(verified)) => context.output.one(verified)?,
        Some(JobResult::Collected(collected)) => context.output.one(collected)?,
        Some(JobResult::Synced(synced)) => context.output.one(synced)?,
        Some(JobResult::Repaired(repaired)) => context.output.one(&**repaired)?,
        None => {}
    }
    check(job)
}

/// Tells a job's warnings, and fails as it did.
fn check(job: &JobView) -> Result<(), Failure> {
    for warning in &job.warnings {
        tell(Tone::Warning, warning);
    }
    let what = format!("{} of {}", job.kind, job.subject);
    match (&job.problem, job.state) {
        (_, JobState::Succeeded) => match &job.result {
            Some(JobResult::RestoredFiles(restored)) if restored.failed > 0 => Err(Failure::new(
                Exit::SomeFailed,
                format!("{} items could not be restored", restored.failed),
            )),
            _ => Ok(()),
        },
        (Some(problem), _) => Err(Failure::problem(Some(&what), problem)),
        (None, state) => Err(Failure::new(Exit::Error, format!("{what}: the job was {state}"))),
    }
}
