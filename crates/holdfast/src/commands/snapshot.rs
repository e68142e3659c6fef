//! Managed snapshots.

mod copy;
mod create;
mod revert;
mod schedule;

use api::{CollectRequest, DeleteSnapshot, LockSnapshot, SnapshotQuery, SnapshotView, TagSnapshot};
use clap::{Args, Subcommand};
use model::Timestamp;

use self::{
    copy::Copy,
    create::Create,
    revert::Revert,
    schedule::{Schedule, Unschedule},
};
use super::image::{Diff, Export};
use crate::{arguments, context::Context, failure::Failure, render::SnapshotSizes, wait::WaitArguments};

/// What can be done with snapshots.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    Create(Box<Create>),
    /// Lists snapshots, newest first.
    #[command(visible_alias = "ls", after_long_help = LIST_EXAMPLES)]
    List(List),
    /// Shows one snapshot: how far it is, its disks, and what it costs.
    #[command(after_long_help = "Example:\n  holdfast snapshot show before-upgrade")]
    Show(One),
    /// Deletes snapshots. For 14 days they can be brought back, unless they are purged at once.
    ///
    /// Those that are locked, and those that a VM runs from, are refused. Any may go, in any order: no snapshot needs another.
    #[command(after_long_help = DELETE_EXAMPLES)]
    Delete(Delete),
    /// Brings a deleted snapshot back.
    #[command(after_long_help = "Example:\n  holdfast snapshot undelete before-upgrade")]
    Undelete(One),
    Revert(Revert),
    Copy(Copy),
    /// Locks a snapshot: nobody can delete it before a date. A lock can be extended, not shortened.
    #[command(
        after_long_help = "Example:\n  holdfast snapshot lock before-upgrade --until 2027-01-01T00:00:00Z"
    )]
    Lock(Lock),
    /// Changes a snapshot's tags.
    #[command(
        after_long_help = "Example:\n  holdfast snapshot tag before-upgrade --set team=web --remove draft"
    )]
    Tag(Tag),
    /// Shows the snapshot store: the vault of the site's own that snapshots live in.
    #[command(after_long_help = "Example:\n  holdfast snapshot store")]
    Store,
    /// Gives back the room of snapshots that are purged or have failed. Purging does it by itself.
    #[command(after_long_help = "Example:\n  holdfast snapshot gc --dry-run")]
    Gc(Gc),
    /// Shows where two snapshots differ; as holdfast diff does.
    #[command(
        after_long_help = "Example:\n  holdfast snapshot diff snapshot:monday/vda snapshot:tuesday/vda"
    )]
    Diff(Diff),
    /// Writes a disk of a snapshot to an image file of any format; as holdfast export does.
    #[command(
        after_long_help = "Example:\n  holdfast snapshot export snapshot:monday/vda --to disk.vhd --format vhd"
    )]
    Export(Export),
    /// Makes a snapshot of an image file that was made elsewhere: a VHD, say. The file may go when it is ready.
    #[command(after_long_help = "Example:\n  holdfast snapshot import disk.vhd --name golden")]
    Import(Box<create::Import>),
    Schedule(Schedule),
    Unschedule(Unschedule),
}

const LIST_EXAMPLES: &str = "\
Examples:
  holdfast snapshot list --family web-1
  holdfast snapshot list --tag team=web
  holdfast snapshot list --deleted";

const DELETE_EXAMPLES: &str = "\
Examples:
  holdfast snapshot delete before-upgrade
  holdfast snapshot delete monday tuesday --now";

/// Lists snapshots.
#[derive(Debug, Args)]
pub struct List {
    /// Only those of this VM, by name or id, or of this image file, as file:PATH.
    #[arg(long, value_name = "VM")]
    family: Option<String>,
    /// Only those with this tag.
    #[arg(long, value_name = "KEY=VALUE")]
    tag: Option<String>,
    /// Those that are deleted and can be brought back, instead of all others.
    #[arg(long)]
    deleted: bool,
    /// Also what each takes: "used", the data on its disks, and "alone", what no other snapshot needs. Reads the maps of all.
    #[arg(long)]
    sizes: bool,
}

/// One snapshot.
#[derive(Debug, Args)]
pub struct One {
    /// The snapshot, by name, id or the start of an id.
    snapshot: String,
}

/// Deletes snapshots.
#[derive(Debug, Args)]
pub struct Delete {
    /// The snapshots, by name, id or the start of an id.
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<String>,
    /// Purge them at once: nobody can bring them back.
    #[arg(long)]
    now: bool,
    /// Show what would be deleted, or why it may not be, and delete nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Locks a snapshot.
#[derive(Debug, Args)]
pub struct Lock {
    #[command(flatten)]
    one: One,
    /// Until when, as in 2027-01-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    until: Timestamp,
}

/// Changes a snapshot's tags.
#[derive(Debug, Args)]
pub struct Tag {
    #[command(flatten)]
    one: One,
    /// A tag that it gets; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = arguments::key_value)]
    set: Vec<(String, String)>,
    /// A tag that it loses; may be given several times.
    #[arg(long, value_name = "KEY")]
    remove: Vec<String>,
}

/// Collects the store's garbage.
#[derive(Debug, Args)]
pub struct Gc {
    /// Show what would go and what that would free, and delete nothing.
    #[arg(long)]
    dry_run: bool,
    /// How long what no snapshot needs yet is left alone: by default 72h while snapshots are made, else not at all.
    #[arg(long, value_name = "DURATION", value_parser = arguments::hours)]
    grace: Option<u32>,
    #[command(flatten)]
    wait: WaitArguments,
}

impl SnapshotCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Create(create) => create.run(context).await,
            Self::Import(import) => import.run(context).await,
            Self::Schedule(schedule) => schedule.run(context).await,
            Self::Unschedule(unschedule) => unschedule.run(context).await,
            Self::List(list) => list.run(context).await,
            Self::Show(One { snapshot }) => context.output.one(&client.snapshot_with_sizes(&snapshot).await?),
            Self::Delete(delete) => delete.run(context).await,
            Self::Undelete(One { snapshot }) => {
                context.output.one(&client.undelete_snapshot(&snapshot).await?)
            }
            Self::Revert(revert) => revert.run(context).await,
            Self::Copy(copy) => copy.run(context).await,
            Self::Lock(Lock { one, until }) => {
                context.output.one(&client.lock_snapshot(&one.snapshot, &LockSnapshot { until }).await?)
            }
            Self::Tag(Tag { one, set, remove }) => {
                let request = TagSnapshot { set: set.into_iter().collect(), remove };
                context.output.one(&client.tag_snapshot(&one.snapshot, &request).await?)
            }
            Self::Store => match client.snapshot_store().await? {
                Some(store) => context.output.one(&store),
                None => {
                    let create = context.command("snapshot create VM");
                    context.note(&format!(
                        "there is no snapshot store yet; the first snapshot makes it: {create}"
                    ));
                    Ok(())
                }
            },
            Self::Gc(Gc { dry_run, grace, wait }) => {
                let request = CollectRequest { dry_run, grace_hours: grace, ignore_damaged: Vec::new() };
                wait.finish(context, &client.collect_snapshot_store(&request).await?).await
            }
            Self::Diff(diff) => diff.run(context).await,
            Self::Export(export) => export.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut all: Vec<SnapshotView> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let query = SnapshotQuery {
                family: self.family.as_deref(),
                tag: self.tag.as_deref(),
                deleted: self.deleted,
                sizes: self.sizes,
                after: after.as_deref(),
            };
            let page = context.client.snapshots(&query).await?;
            all.extend(page.snapshots);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let none = if self.deleted { "no deleted snapshots" } else { "no snapshots" };
        let none = format!("{none}; make one: {}", context.command("snapshot create VM"));
        if self.sizes {
            let all: Vec<_> = all.into_iter().map(SnapshotSizes).collect();
            return context.output.list(&all, &none);
        }
        context.output.list(&all, &none)
    }
}

impl Delete {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut request = DeleteSnapshot { now: self.now, dry_run: true };
        let mut found = Vec::with_capacity(self.snapshots.len());
        // Said of all before any is deleted.
        for snapshot in &self.snapshots {
            found.push(context.client.delete_snapshot(snapshot, &request).await?);
        }
        let none = "no snapshot was deleted";
        if self.dry_run {
            context.note("these would be deleted; nothing was changed");
            return context.output.list(&found, none);
        }
        let what = match found.as_slice() {
            [snapshot] => format!("the snapshot {}", snapshot.name),
            snapshots => format!("{} snapshots", snapshots.len()),
        };
        let for_good = if self.now { " They cannot be brought back." } else { "" };
        context.confirm(&format!("Delete {what}?{for_good}"))?;
        request.dry_run = false;
        let mut deleted = Vec::with_capacity(found.len());
        for snapshot in &found {
            deleted.push(context.client.delete_snapshot(snapshot.id.as_str(), &request).await?);
        }
        context.output.list(&deleted, none)
    }
}
