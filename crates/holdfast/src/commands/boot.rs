//! Running a VM from a recovery point at once.

use std::{path::PathBuf, time::Duration};

use api::{BootRequest, HydrateRequest};
use clap::Args;
use model::{ByteCount, VmName};

use super::point;
use crate::{arguments, context::Context, failure::Failure, location, wait::WaitArguments};

/// Runs a new VM from a recovery point within seconds, whatever its size.
///
/// The guest reads from the vault what it has not written; its writes go to local disks from the first moment. Meanwhile all
/// data is copied there, until nothing depends on the vault any more. While the vault is out of reach the guest waits.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Boot {
    /// The point: point:VM/POINT, where POINT is latest, an id or the start of one, or a time as in 2026-03-01T14:05:00Z, which
    /// means the newest point until then; or a snapshot: snapshot:NAME, which may still be copied.
    #[arg(value_name = "REF", required_unless_present = "resume")]
    reference: Option<String>,
    /// The new VM's name; the old one's where that is free.
    #[arg(long)]
    name: Option<VmName>,
    /// The directory for its disks; one in the site's data directory where it is left out.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Keep the MAC addresses and the UUID, for a VM that takes the old one's place; otherwise both are new.
    #[arg(long)]
    keep_identity: bool,
    /// Let the guest reach nothing over its networks, as for a look beside the VM that still runs.
    #[arg(long)]
    isolated: bool,
    /// Read a copy instead of the vault, which need not be there any more: COPY, or VAULT/COPY.
    #[arg(long, value_name = "COPY")]
    from_copy: Option<String>,
    /// Leave the data in the vault; the VM depends on it until --resume.
    #[arg(long)]
    no_hydrate: bool,
    /// The fastest rate a second at which data is copied to the local disks, as in 100MiB; as fast as it can by default.
    #[arg(long, value_name = "SIZE", value_parser = arguments::rate, conflicts_with = "no_hydrate")]
    hydrate_limit: Option<ByteCount>,
    /// How long the guest waits while the vault cannot be read, before it sees errors of its disk.
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration, default_value = "24h")]
    wait_limit: Duration,
    /// Go on with a VM that was booted before: start it where it is stopped, and copy what is still missing.
    #[arg(
        long,
        value_name = "VM",
        conflicts_with_all = ["reference", "name", "directory", "keep_identity", "isolated", "from_copy", "no_hydrate", "wait_limit"]
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
  holdfast boot --resume web-1-again";

impl Boot {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        if let Some(vm) = &self.resume {
            return self.go_on(context, vm).await;
        }
        let request = BootRequest {
            reference: point::checked_moment(self.reference.as_deref().unwrap_or_default())?,
            from_copy: self.from_copy,
            name: self.name.map(|name| name.to_string()),
            directory: location::absolute_if_given(self.directory.as_deref())?,
            keep_identity: self.keep_identity,
            isolated: self.isolated,
            hydrate: !self.no_hydrate,
            rate_limit_bytes_per_second: self.hydrate_limit.map(|limit| limit.0),
            wait_limit_seconds: self.wait_limit.as_secs(),
        };
        let job = context.client.boot(&request).await?;
        self.wait.finish(context, &job).await
    }

    async fn go_on(&self, context: &Context, vm: &str) -> Result<(), Failure> {
        if context.client.vm(vm).await?.power == "stopped" {
            context.client.start_vm(vm).await?;
        }
        let request = HydrateRequest { rate_limit_bytes_per_second: self.hydrate_limit.map(|limit| limit.0) };
        let job = context.client.hydrate(vm, &request).await?;
        self.wait.finish(context, &job).await
    }
}
