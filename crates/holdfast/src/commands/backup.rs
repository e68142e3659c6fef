//! Backups.

use api::BackupRequest;
use clap::Args;
use model::Consistency;

use crate::{context::Context, failure::Failure, wait::WaitArguments};

/// Backs up a VM.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  holdfast backup web-1
  holdfast backup web-1 --consistency crash --label before-upgrade --no-wait")]
pub struct Backup {
    /// The VM, by name or id.
    vm: String,
    /// The consistency to ask for this time: application, file-system or crash.
    #[arg(long, value_name = "LEVEL")]
    consistency: Option<Consistency>,
    /// A word to find the point by.
    #[arg(long)]
    label: Option<String>,
    #[command(flatten)]
    wait: WaitArguments,
}

impl Backup {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let request = BackupRequest { consistency: self.consistency, label: self.label };
        let job = context.client.backup(&self.vm, &request).await?;
        self.wait.finish(context, &job).await
    }
}
