//! VMs that become what a snapshot holds.

use api::RevertVm;
use clap::Args;

use crate::{context::Context, failure::Failure, wait::WaitArguments};

/// Makes a VM's disks what a snapshot of it holds, after a snapshot of what they hold now.
///
/// They are overwritten where they differ and nowhere else; disks that the snapshot does not have are left alone. The snapshot made first is
/// called VM-before-revert-…, and reverting to it takes everything back. If it is interrupted, the VM is not started
/// until the same command, or a revert to that snapshot, has made it whole.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Revert {
    /// The VM, by name or id.
    vm: String,
    /// The snapshot, by name, id or the start of an id.
    #[arg(long, value_name = "SNAPSHOT")]
    to: String,
    /// Where the VM runs, ask its guest to shut down first, and start it again afterwards.
    #[arg(long, conflicts_with = "dry_run")]
    stop: bool,
    /// Power the VM off where its guest has not shut down within two minutes, which is a power cut for it.
    #[arg(long, requires = "stop")]
    force: bool,
    /// Make no snapshot of what the VM is now: nothing brings that back.
    #[arg(long)]
    no_safety: bool,
    /// Start the VM afterwards, whether it ran or not.
    #[arg(long)]
    start: bool,
    /// Compare the disks, show what would be written, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArguments,
}

const EXAMPLES: &str = "\
Examples:
  holdfast snapshot revert web-1 --to before-upgrade --dry-run
  holdfast snapshot revert web-1 --to before-upgrade --stop";

impl Revert {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        if !self.dry_run {
            let safety = match self.no_safety {
                true => "What they hold now is kept nowhere.",
                false => "What they hold now becomes a snapshot first.",
            };
            let power = if self.stop { " A VM that runs is stopped for it." } else { "" };
            let (vm, to) = (&self.vm, &self.to);
            context.confirm(&format!(
                "Overwrite the disks of the VM {vm}, where the snapshot {to} differs? {safety}{power}"
            ))?;
        }
        let request = RevertVm {
            vm: self.vm,
            no_safety: self.no_safety,
            stop: self.stop,
            force: self.force,
            start: self.start,
            dry_run: self.dry_run,
        };
        let job = context.client.revert_vm(&self.to, &request).await?;
        self.wait.finish(context, &job).await
    }
}
