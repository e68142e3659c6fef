//! Snapshots that go elsewhere.

use api::CopySnapshot;
use clap::Args;
use model::{ByteCount, SnapshotName};

use crate::{arguments, context::Context, failure::Failure, wait::WaitArguments};

/// Copies a snapshot into a vault, where it becomes a recovery point, or to another site, where it becomes a snapshot.
///
/// Only what is missing there travels. Copies of one family go one after the other. What is interrupted goes on when the
/// server is back; what has failed goes on from what has arrived when it is asked for again.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Copy {
    /// The snapshot, by name, id or the start of an id.
    snapshot: String,
    /// The vault or the site, by name or id.
    #[arg(long, value_name = "VAULT|SITE")]
    to: String,
    /// The name that it is to have there; its own where it is left out. Where it is taken, a number is added.
    #[arg(long)]
    name: Option<SnapshotName>,
    /// The most that is sent to a site in a second, as in 50MiB.
    #[arg(long, value_name = "SIZE", value_parser = arguments::rate)]
    limit: Option<ByteCount>,
    #[command(flatten)]
    wait: WaitArguments,
}

const EXAMPLES: &str = "\
Examples:
  holdfast snapshot copy before-upgrade --to main
  holdfast snapshot copy before-upgrade --to east --limit 50MiB";

impl Copy {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let request = CopySnapshot {
            to: self.to,
            name: self.name,
            rate_limit_bytes_per_second: self.limit.map(|limit| limit.0),
        };
        let job = context.client.copy_snapshot(&self.snapshot, &request).await?;
        self.wait.finish(context, &job).await
    }
}
