//! Snapshots are made by themselves.

use api::ScheduleSnapshots;
use clap::Args;
use model::Consistency;

use crate::{context::Context, failure::Failure};

/// Makes the snapshots of a VM follow a policy.
///
/// Its runs make snapshots of all disks, named after the VM and the time, and delete those that no rule keeps: of the snapshots
/// that policies made, and no others. Backups may follow the same policy or another: see protect --policy.
#[derive(Debug, Args)]
#[command(after_long_help = SCHEDULE_EXAMPLES)]
pub struct Schedule {
    /// The VM, by name or id.
    vm: String,
    /// The policy.
    #[arg(long)]
    policy: String,
    /// The consistency to ask for: application, file-system or crash. By default that of the VM's protection, or crash.
    #[arg(long, value_name = "LEVEL")]
    consistency: Option<Consistency>,
}

const SCHEDULE_EXAMPLES: &str = "\
Examples:
  holdfast policy create often --schedule 'every 15m' --keep-hourly 24 --keep-daily 7
  holdfast snapshot schedule web-1 --policy often";

/// Makes the snapshots of a VM follow no policy. Those that there are stay until somebody deletes them.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  holdfast snapshot unschedule web-1")]
pub struct Unschedule {
    /// The VM, by name or id.
    vm: String,
}

impl Schedule {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let request = ScheduleSnapshots { policy: self.policy, consistency: self.consistency };
        context.output.one(&context.client.schedule_snapshots(&self.vm, &request).await?)
    }
}

impl Unschedule {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        context.output.one(&context.client.unschedule_snapshots(&self.vm).await?)
    }
}
