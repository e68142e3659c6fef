//! Running a VM from an image at once.

use api::HydrateRequest;
use clap::Args;
use model::VmName;

use super::new_vm::NewVmArguments;
use crate::{context::Context, failure::Failure, wait::WaitArguments};

/// Runs a new VM from a recovery point, or another image, within seconds, whatever its size.
///
/// The guest reads from the vault what it has not written; its writes go to local disks from the first moment. Meanwhile all
/// data is copied there, until nothing depends on the vault any more. While the vault is out of reach the guest waits.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Boot {
    /// The point: point:VM/POINT, where POINT is latest, an id or the start of one, or a time as in 2026-03-01T14:05:00Z, which
    /// means the newest point until then; snapshot:NAME, which may still be copied; replica:VM/MOMENT; or file:PATH of an image at
    /// rest, with what it does not tell.
    #[arg(value_name = "REF", required_unless_present = "resume")]
    reference: Option<String>,
    /// The new VM's name; the old one's where that is free.
    #[arg(long)]
    name: Option<VmName>,
    #[command(flatten)]
    new: NewVmArguments,
    /// Go on with a VM that was booted before: start it where it is stopped, and copy what is still missing.
    #[arg(
        long,
        value_name = "VM",
        conflicts_with_all = ["reference", "name", "directory", "keep_identity", "isolated", "from_copy", "no_hydrate", "wait_limit", "definition", "memory"]
    )]
    resume: Option<String>,
    #[command(flatten)]
    wait: WaitArguments,
}

const EXAMPLES: &str = "\
Examples:
  holdfast boot point:web-1/latest --name web-1-again
  holdfast boot point:web-1/2026-03-01T14:05:00Z --name look --isolated --no-hydrate
  holdfast boot point:web-1/latest --from-copy offsite --hydrate-limit 50MiB
  holdfast boot file:/srv/images/debian-12.qcow2 --name try --memory 2GiB --isolated
  holdfast boot --resume web-1-again";

impl Boot {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        if let Some(vm) = &self.resume {
            return self.go_on(context, vm).await;
        }
        let reference = self.reference.as_deref().unwrap_or_default();
        let request = self.new.request(reference, self.name, true)?;
        let job = context.client.create_vm(&request).await?;
        self.wait.finish(context, &job).await
    }

    async fn go_on(&self, context: &Context, vm: &str) -> Result<(), Failure> {
        if context.client.vm(vm).await?.power == "stopped" {
            context.client.start_vm(vm).await?;
        }
        let request = HydrateRequest { rate_limit_bytes_per_second: self.new.pace() };
        let job = context.client.hydrate(vm, &request).await?;
        self.wait.finish(context, &job).await
    }
}
