//! Restoring where nothing is left but a store and a key: no server, no catalog, no site.

mod definition;
mod key;
mod points;
mod restore;
mod source;
mod watch;

use clap::{Args, Subcommand};

use self::source::SourceArguments;
use super::{point::ReferenceArgument, serve};
use crate::{arguments::GlobalArguments, context::Context, exit::Exit, failure::Failure};

/// Restores without a server.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Rescue {
    #[command(flatten)]
    source: SourceArguments,
    #[command(subcommand)]
    command: RescueCommand,
}

const EXAMPLES: &str = "\
Examples:
  holdfast rescue --url 's3://bucket/prefix?region=eu-1' --kit list
  holdfast rescue --url /mnt/nas/vault --key-file main.key restore vm point:web-1/latest --to /srv/web-1
  holdfast rescue --url sftp://backup@nas/vault --passphrase key test";

/// What can be done without a server.
#[derive(Debug, Subcommand)]
enum RescueCommand {
    /// Lists the recovery points in the vault, oldest first.
    #[command(
        visible_alias = "ls",
        after_long_help = "Example:\n  holdfast rescue --url /mnt/vault --kit=kit.txt list"
    )]
    List(List),
    /// Shows one recovery point; with -o json also the VM's definition.
    #[command(
        after_long_help = "Example:\n  holdfast rescue --url /mnt/vault --kit=kit.txt show point:web-1/latest"
    )]
    Show(Show),
    /// Restores the disks of a VM, with or without its definition.
    #[command(subcommand)]
    Restore(restore::RestoreCommand),
    /// The key at hand.
    #[command(subcommand)]
    Key(key::KeyCommand),
}

/// Lists recovery points.
#[derive(Debug, Args)]
struct List {
    /// Only those of this VM, by name or id.
    #[arg(long)]
    vm: Option<String>,
    /// Also those that are deleted and not yet gone.
    #[arg(long)]
    deleted: bool,
}

/// Shows a recovery point.
#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    reference: ReferenceArgument,
}

impl Rescue {
    /// Does it.
    pub fn run(self, global: &GlobalArguments) -> Result<(), Failure> {
        // A vault says what of itself it had to do without.
        serve::start_log("warn")?;
        let context = Context::new(global)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::new(Exit::Error, format!("cannot start: {error}")))?;
        runtime.block_on(Box::pin(self.rescue(&context)))
    }

    async fn rescue(self, context: &Context) -> Result<(), Failure> {
        let source = &self.source;
        match self.command {
            RescueCommand::List(List { vm, deleted }) => {
                let vault = source.open().await?;
                points::list(context, &vault, vm.as_deref(), deleted).await
            }
            RescueCommand::Show(Show { reference }) => {
                let reference = reference.parsed()?;
                let vault = source.open().await?;
                let (record, fate) = points::find(&vault, &reference).await?;
                context.output.one(&points::whole_view(record, fate.as_ref()))
            }
            RescueCommand::Restore(restore) => restore.run(context, source).await,
            RescueCommand::Key(key) => key.run(context, source).await,
        }
    }
}
