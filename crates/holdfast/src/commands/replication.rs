//! Replication of VMs to other sites.

mod group;
mod settings;

use api::{EditReplication, MakeCheckpoint, StartReplication, StopReplication};
use clap::{Args, Subcommand};
use model::{ByteCount, RateWindow};

use self::settings::{interval, seconds};
pub use self::{group::GroupCommand, settings::Settings};
use crate::{arguments, context::Context, failure::Failure};

/// What can be done with replications.
#[derive(Debug, Subcommand)]
pub enum ReplicationCommand {
    /// Has a VM replicated to another site, continuously: every write of it, in order.
    ///
    /// What the disks hold is copied while the guest goes on; from then on every second is a moment that the other site can go
    /// back to. The guest always wins: where the journal cannot take a write in time, writes are tracked instead, and what was
    /// missed is read again by itself. It goes on after restarts of the VM, the server and the host, until it is stopped.
    ///
    /// With --mode interval no write is taken: a moment of all disks is held every so often, and what was written since the last one
    /// is copied from it. The other site can go back to those moments, and to none between them.
    #[command(after_long_help = START_EXAMPLES)]
    Start(Start),
    /// Shows how replications stand; of one VM, all that is known.
    ///
    /// RPO is what would be lost now: the age of the newest checkpoint that the other site durably has.
    #[command(visible_alias = "show", after_long_help = STATUS_EXAMPLES)]
    Status(Named),
    /// Takes and sends nothing for now. What the guest writes is tracked, and read when it goes on.
    #[command(after_long_help = "Example:\n  holdfast replication pause web-1")]
    Pause(Vm),
    /// Goes on, at once also where it waits to try again; at intervals the next one begins at once.
    #[command(after_long_help = "Example:\n  holdfast replication resume web-1")]
    Resume(Vm),
    /// Changes how a VM is replicated; what is not given stays.
    #[command(after_long_help = EDIT_EXAMPLES)]
    Edit(Edit),
    /// Names this moment, so that it can be gone back to by its name; with --group, one that all members share.
    #[command(after_long_help = CHECKPOINT_EXAMPLES)]
    Checkpoint(Checkpoint),
    /// Consistency groups: VMs whose moments are common to all of them.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Ends a replication. What the other site has stays there, unless it is to be deleted.
    #[command(
        after_long_help = "Examples:\n  holdfast replication stop web-1\n  holdfast replication stop web-1 --delete-replica"
    )]
    Stop(Stop),
}

const START_EXAMPLES: &str = "\
Examples:
  holdfast replication start web-1 --to west
  holdfast replication start db --to west --retention 72h --application-every 4h
  holdfast replication start db --to west --mode interval --every 1m
  holdfast replication start db --to west --seed snapshot:db-monday
  holdfast replication start db --to west --rate-limit 50MiB --rate-window 08:00-18:00=10MiB --journal-size 100GiB";

const STATUS_EXAMPLES: &str = "\
Examples:
  holdfast replication status
  holdfast replication status web-1
  holdfast replication status -o json | jq '.[] | {vm, state, rpo_seconds}'";

const EDIT_EXAMPLES: &str = "\
Examples:
  holdfast replication edit web-1 --retention 7d
  holdfast replication edit web-1 --rate-limit none --application-every never";

const CHECKPOINT_EXAMPLES: &str = "\
Examples:
  holdfast replication checkpoint web-1 --name before-upgrade
  holdfast replication checkpoint db --name before-upgrade --application
  holdfast replication checkpoint --group shop --name before-upgrade";

/// Begins a replication.
#[derive(Debug, Args)]
pub struct Start {
    /// The VM, by name or id.
    vm: String,
    /// The other site, by name or id.
    #[arg(long, value_name = "SITE")]
    to: String,
    #[command(flatten)]
    settings: Settings,
    /// What the disks begin with at the other site, so that only what differs is sent: a point or a snapshot of the VM there, or
    /// a replica of it, as in snapshot:db-monday. What the VM had there before it was failed over is found without it.
    #[arg(long, value_name = "REF")]
    seed: Option<String>,
}

/// Names a VM, or all.
#[derive(Debug, Args)]
pub struct Named {
    /// The VM, by name or id.
    vm: Option<String>,
}

/// Names a VM.
#[derive(Debug, Args)]
pub struct Vm {
    /// The VM, by name or id.
    vm: String,
}

/// Changes a replication.
#[derive(Debug, Args)]
pub struct Edit {
    /// The VM, by name or id.
    vm: String,
    /// How far back the other site can go.
    #[arg(long, value_name = "DURATION", value_parser = arguments::hours)]
    retention: Option<u32>,
    /// How often what was written since is copied, of a VM that is replicated at intervals.
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    every: Option<u32>,
    /// How often the guest's applications are made to hold still for a checkpoint; never takes that away.
    #[arg(long, value_name = "DURATION", value_parser = seconds_or_never)]
    application_every: Option<u32>,
    /// The most that is sent in a second; none takes the limit away.
    #[arg(long, value_name = "SIZE", value_parser = rate_or_none)]
    rate_limit: Option<ByteCount>,
    /// Other limits for parts of the day, instead of those that there are.
    #[arg(long, value_name = "FROM-UNTIL=SIZE", conflicts_with = "no_rate_windows")]
    rate_window: Option<Vec<RateWindow>>,
    /// The same limit all day.
    #[arg(long)]
    no_rate_windows: bool,
    /// How much of the local disk the journal may take. What is written while it changes is read again.
    #[arg(long, value_name = "SIZE")]
    journal_size: Option<ByteCount>,
}

/// A VM, or a consistency group of VMs.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct VmOrGroup {
    /// The VM, by name or id.
    pub vm: Option<String>,
    /// Instead of one VM, all members of this consistency group.
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
}

/// Names a moment.
#[derive(Debug, Args)]
pub struct Checkpoint {
    #[command(flatten)]
    meant: VmOrGroup,
    /// What the moment is called.
    #[arg(long)]
    name: String,
    /// Have the guest's applications hold still for it, through its agent.
    #[arg(long)]
    application: bool,
}

/// Ends a replication.
#[derive(Debug, Args)]
pub struct Stop {
    /// The VM, by name or id.
    vm: String,
    /// Also delete what the other site has.
    #[arg(long)]
    delete_replica: bool,
    /// Show what would end, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl ReplicationCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Start(start) => start.run(context).await,
            Self::Status(Named { vm: Some(vm) }) => context.output.one(&client.replication(&vm).await?),
            Self::Status(Named { vm: None }) => {
                let start = context.command("replication start VM --to SITE");
                let none = format!("no VM is replicated from here; begin with: {start}");
                context.output.list(&client.replications().await?, &none)
            }
            Self::Pause(Vm { vm }) => context.output.one(&client.pause_replication(&vm).await?),
            Self::Resume(Vm { vm }) => context.output.one(&client.resume_replication(&vm).await?),
            Self::Edit(edit) => edit.run(context).await,
            Self::Checkpoint(Checkpoint { meant, name, application }) => {
                let request = MakeCheckpoint { name, application };
                match meant {
                    VmOrGroup { group: Some(group), .. } => {
                        context.output.one(&client.make_group_checkpoint(&group, &request).await?)
                    }
                    VmOrGroup { vm, group: None } => {
                        let made = client.make_checkpoint(&vm.unwrap_or_default(), &request).await?;
                        context.output.one(&made)
                    }
                }
            }
            Self::Group(group) => group.run(context).await,
            Self::Stop(stop) => stop.run(context).await,
        }
    }
}

impl Start {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let request = StartReplication { seed: self.seed, ..self.settings.request(self.to)? };
        let begun = context.client.start_replication(&self.vm, &request).await?;
        let status = context.command(&format!("replication status {}", api::shell_word(&begun.vm)));
        context.note(&format!("it goes on by itself; see how far it is: {status}"));
        context.output.one(&begun)
    }
}

impl Edit {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let request = EditReplication {
            retention_hours: self.retention,
            interval_seconds: self.every,
            application_every_seconds: self.application_every,
            rate_limit_bytes_per_second: self.rate_limit,
            rate_windows: if self.no_rate_windows { Some(Vec::new()) } else { self.rate_window },
            journal_size_bytes: self.journal_size,
        };
        if request == EditReplication::default() {
            return Err(Failure::usage("nothing to change").with_hint(
                "give --retention, --every, --application-every, --rate-limit, --rate-window or --journal-size",
            ));
        }
        context.output.one(&context.client.edit_replication(&self.vm, &request).await?)
    }
}

impl Stop {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let known = context.client.replication(&self.vm).await?;
        if self.dry_run {
            context.note("this replication would end; nothing was changed");
            return context.output.one(&known);
        }
        let replica = if self.delete_replica {
            format!("What {} has of it is deleted.", known.site)
        } else {
            format!("What {} has of it stays there.", known.site)
        };
        context.confirm(&format!("End the replication of {} to {}? {replica}", known.vm, known.site))?;
        let request = StopReplication { delete_replica: self.delete_replica };
        let stopped = context.client.stop_replication(&self.vm, &request).await?;
        context.output.one(&stopped)
    }
}

fn seconds_or_never(text: &str) -> Result<u32, String> {
    if text == "never" { Ok(0) } else { seconds(text) }
}

fn rate_or_none(text: &str) -> Result<ByteCount, String> {
    if text == "none" { Ok(ByteCount(0)) } else { arguments::rate(text) }
}
