//! Backups.

use api::{BackUpReplica, BackupRequest};
use clap::Args;
use model::{Consistency, ParseReferenceError, ReplicaReference};

use crate::{context::Context, failure::Failure, wait::WaitArguments};

/// Backs up a VM.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  holdfast backup web-1
  holdfast backup web-1 --consistency crash --label before-upgrade --no-wait
  holdfast backup replica:web-1/2026-03-01T14:05:07Z --vault main")]
pub struct Backup {
    /// The VM, by name or id; or a moment of a replica, as replica:VM[/MOMENT].
    vm: String,
    /// The vault that the point of a replica goes to.
    #[arg(long)]
    vault: Option<String>,
    /// The consistency to ask for this time: application, file-system or crash.
    #[arg(long, value_name = "LEVEL", conflicts_with = "vault")]
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
        let is_replica = self.vm.starts_with("replica:");
        let job = match (is_replica, self.vault) {
            (true, Some(vault)) => {
                let reference: ReplicaReference = self
                    .vm
                    .parse()
                    .map_err(|error: ParseReferenceError| Failure::usage(error.to_string()))?;
                if reference.disk.is_some() {
                    return Err(Failure::usage("a recovery point is of all disks: leave the disk out"));
                }
                let point = reference.moment.to_string();
                let request = BackUpReplica { point, vault, label: self.label };
                context.client.back_up_replica(&reference.vm, &request).await?
            }
            (true, None) => return Err(Failure::usage("say which vault the point goes to: --vault VAULT")),
            (false, Some(_)) => {
                return Err(Failure::usage(
                    "a VM that runs here is backed up into the vault that protects it",
                ));
            }
            (false, None) => {
                let request = BackupRequest { consistency: self.consistency, label: self.label };
                context.client.backup(&self.vm, &request).await?
            }
        };
        self.wait.finish(context, &job).await
    }
}
