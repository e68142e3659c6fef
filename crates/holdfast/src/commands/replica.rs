//! VMs of other sites whose journals this one keeps.

mod edit;

use std::time::Duration;

use api::{ReplicaView, RetainReplica};
use clap::{Args, Subcommand};

use self::edit::Edit;
use crate::{arguments, context::Context, failure::Failure};

/// What can be done with replicas.
#[derive(Debug, Subcommand)]
pub enum ReplicaCommand {
    /// Lists the replicas: how each stands, how much would be lost now, how far back one can go.
    #[command(visible_alias = "ls", after_long_help = "Example:\n  holdfast replica list -o json")]
    List,
    /// Shows one replica, what its VM would be here, its failover and its tests.
    #[command(after_long_help = "Example:\n  holdfast replica show web-1")]
    Show(Replica),
    /// Lists the moments of a replica that were marked, or with --group those that all members of a group share.
    ///
    /// Those that people and applications marked are all there; of those that the clock made, the older they are the fewer are
    /// shown. Every moment in between can be used as well, by its time.
    #[command(
        after_long_help = "Examples:\n  holdfast replica points web-1\n  holdfast replica points --group shop\n  holdfast files ls replica:web-1/2026-03-01T14:05:07Z /etc"
    )]
    Points(Points),
    /// Changes what the VM is to be here, in tests and after a failover.
    ///
    /// What nobody has set is as at the source: network interfaces are connected to bridges of the same name, or to those that
    /// `holdfast site map-network` says; in tests they reach nothing. What this host lacks for it is told at once, and a failover is
    /// refused before it does anything.
    #[command(after_long_help = EDIT_EXAMPLES)]
    Edit(Box<Edit>),
    /// Lists the consistency groups of replicas, or shows one: its members, and the newest moment that they share.
    #[command(after_long_help = "Examples:\n  holdfast replica groups\n  holdfast replica groups shop")]
    Groups(GroupOrAll),
    /// Sets how long the moments of a replica stay reachable. The source's wish counts no more.
    #[command(after_long_help = "Example:\n  holdfast replica retain web-1 72h")]
    Retain(Retain),
    /// Deletes a replica that nobody uses. Where its VM was failed over, its source stays fenced.
    #[command(after_long_help = "Example:\n  holdfast replica delete web-1 --dry-run")]
    Delete(Delete),
}

const EDIT_EXAMPLES: &str = "\
Examples:
  holdfast replica edit web-1 --memory 2GiB --cpus 2 --storage /srv/fast
  holdfast replica edit web-1 --network 0=br-lan --test-network 0=br-drill --test-network 1=isolated
  holdfast replica edit web-1 --reset name,networks";

/// The replica that a command is about.
#[derive(Debug, Args)]
pub struct Replica {
    /// The VM, by name or id, or its journal by id.
    replica: String,
}

/// A group, or all.
#[derive(Debug, Args)]
pub struct GroupOrAll {
    /// The group, by name or id.
    group: Option<String>,
}

/// Lists the moments of a replica.
#[derive(Debug, Args)]
pub struct Points {
    #[command(flatten)]
    meant: ReplicaOrGroup,
    /// Leave none out.
    #[arg(long)]
    all: bool,
}

/// A replica, or a consistency group of replicas.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ReplicaOrGroup {
    /// The VM, by name or id, or its journal by id.
    pub replica: Option<String>,
    /// Instead of one replica, all members of this consistency group, at a moment that they share.
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
}

/// Sets the retention of a replica.
#[derive(Debug, Args)]
pub struct Retain {
    #[command(flatten)]
    replica: Replica,
    /// How long, as in 72h: a minute to 720h, which is 30 days.
    #[arg(value_name = "DURATION", value_parser = arguments::duration)]
    retention: Duration,
}

/// Deletes a replica.
#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    replica: Replica,
    /// Show the replica that would be deleted, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl ReplicaCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::List => {
                let none = "no replicas: no other site replicates a VM to this one";
                context.output.list(&client.replicas().await?, none)
            }
            Self::Show(Replica { replica }) => context.output.one(&client.replica(&replica).await?),
            Self::Points(Points { meant: ReplicaOrGroup { group: Some(group), .. }, all }) => {
                let points = client.shared_points(&group, all).await?;
                context.output.list(&points, "its members share no moment yet")
            }
            Self::Points(Points { meant, all }) => {
                let points = client.replica_points(&meant.replica.unwrap_or_default(), all).await?;
                context.output.list(&points, "no moment of it was marked yet")
            }
            Self::Groups(GroupOrAll { group: Some(group) }) => {
                context.output.one(&client.replica_group(&group).await?)
            }
            Self::Groups(GroupOrAll { group: None }) => {
                let none = "no consistency groups: no other site has told of one";
                context.output.list(&client.replica_groups().await?, none)
            }
            Self::Retain(Retain { replica, retention }) => {
                let request = RetainReplica { retention_seconds: retention.as_secs() };
                context.output.one(&client.retain_replica(&replica.replica, &request).await?)
            }
            Self::Edit(edit) => edit.run(context).await,
            Self::Delete(delete) => delete.run(context).await,
        }
    }
}

impl Delete {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let replica: ReplicaView = context.client.replica(&self.replica.replica).await?;
        let (id, name) = (replica.journal_id, &replica.vm_name);
        if self.dry_run {
            context.client.delete_replica(id.as_str(), true).await?;
            context.note(&format!("the replica of {name} would be deleted, with all its moments"));
            return context.output.one(&replica);
        }
        context.confirm(&format!("Delete the replica of {name} with all its moments?"))?;
        context.client.delete_replica(id.as_str(), false).await?;
        context.note(&format!("the replica of {name} is deleted"));
        Ok(())
    }
}
