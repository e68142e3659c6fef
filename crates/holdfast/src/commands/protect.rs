//! Protection of VMs.

use std::{path::PathBuf, time::Duration};

use api::ProtectRequest;
use clap::Args;
use model::{ByteCount, Consistency};

use crate::{arguments, context::Context, failure::Failure, location};

/// Protects a VM.
#[derive(Debug, Args)]
#[command(after_long_help = PROTECT_EXAMPLES)]
pub struct Protect {
    /// The VM, by name or id.
    vm: String,
    /// The vault that its recovery points go to, by name or id.
    #[arg(long)]
    vault: String,
    /// The policy that backs it up by itself; without one, backups are made by hand only.
    #[arg(long)]
    policy: Option<String>,
    /// The consistency to ask for: application, file-system or crash; application by default.
    ///
    /// application freezes the guest's file systems and runs the hooks in it that quiesce its applications; file-system
    /// freezes only; crash is as after a power cut. A guest that cannot do it gives a weaker point, which says why.
    #[arg(long, value_name = "LEVEL")]
    consistency: Option<Consistency>,
    /// Fail a backup that cannot reach the consistency, rather than take a weaker point.
    #[arg(long)]
    strict: bool,
    /// The longest freeze of the guest's file systems; 10s by default.
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration)]
    freeze_limit: Option<Duration>,
    /// The fastest rate a second at which the guest's disks are read, as in 200MiB; as fast as it can by default.
    #[arg(long, value_name = "SIZE", value_parser = arguments::rate)]
    read_limit: Option<ByteCount>,
    /// A program on this host to run before each capture, with the argument pre; when it fails, so does the backup.
    #[arg(long, value_name = "PATH")]
    pre_script: Option<PathBuf>,
    /// A program on this host to run once the moment is fixed, with the argument post.
    #[arg(long, value_name = "PATH")]
    post_script: Option<PathBuf>,
}

const PROTECT_EXAMPLES: &str = "\
Examples:
  holdfast protect web-1 --vault main
  holdfast protect web-1 --vault main --policy nightly
  holdfast protect db-1 --vault main --strict --freeze-limit 5s --read-limit 200MiB";

/// Ends a VM's protection.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  holdfast unprotect web-1")]
pub struct Unprotect {
    /// The VM, by name or id.
    vm: String,
}

impl Protect {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let request = ProtectRequest {
            vault: self.vault,
            policy: self.policy,
            consistency: self.consistency,
            strict: self.strict,
            freeze_limit_ms: self.freeze_limit.map(milliseconds).transpose()?,
            read_limit_bytes_per_second: self.read_limit,
            pre_script: location::absolute_if_given(self.pre_script.as_deref())?,
            post_script: location::absolute_if_given(self.post_script.as_deref())?,
        };
        context.output.one(&context.client.protect(&self.vm, &request).await?)
    }
}

impl Unprotect {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        context.output.one(&context.client.unprotect(&self.vm).await?)
    }
}

fn milliseconds(limit: Duration) -> Result<u32, Failure> {
    u32::try_from(limit.as_millis())
        .map_err(|_| Failure::usage(format!("a freeze limit of {limit:?} is too long to be one")))
}
