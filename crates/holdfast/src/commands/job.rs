//! Jobs.

use clap::{Args, Subcommand};

use crate::{context::Context, failure::Failure, wait::TimeoutArgument};

/// What can be done with jobs.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Lists jobs, newest first.
    #[command(visible_alias = "ls", after_long_help = "Example:\n  holdfast job list --limit 5")]
    List(List),
    /// Shows one job: how far it is, or how it ended and why.
    #[command(after_long_help = "Example:\n  holdfast job show latest")]
    Show(Job),
    /// Follows a job until it has ended, prints what it did, and exits as the job did.
    #[command(after_long_help = "Example:\n  holdfast job watch latest --timeout 1h")]
    Watch(Watch),
    /// Asks a job to stop. It cleans up and ends a moment later.
    #[command(after_long_help = "Example:\n  holdfast job cancel latest")]
    Cancel(Job),
}

/// Lists jobs.
#[derive(Debug, Args)]
pub struct List {
    /// The most jobs to list.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: u32,
}

/// The job that a command is about.
#[derive(Debug, Args)]
pub struct Job {
    /// The job: its id, the start of it, or latest.
    job: String,
}

/// Follows a job.
#[derive(Debug, Args)]
pub struct Watch {
    #[command(flatten)]
    job: Job,
    #[command(flatten)]
    timeout: TimeoutArgument,
}

impl JobCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::List(List { limit }) => context.output.list(&client.jobs(limit).await?, "no jobs yet"),
            Self::Show(Job { job }) => context.output.one(&client.job(&job).await?),
            Self::Watch(Watch { job, timeout }) => timeout.watch(context, &client.job(&job.job).await?).await,
            Self::Cancel(Job { job }) => context.output.one(&client.cancel_job(&job).await?),
        }
    }
}
