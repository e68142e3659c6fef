//! Recovery points.

use std::time::Duration;

use api::{ChosenPoints, DeletePoints, HoldPoints, TestPoint};
use clap::{Args, Subcommand};
use model::{ParseReferenceError, PointReference, ReplicaReference, SnapshotReference};

use crate::{arguments, context::Context, failure::Failure, render::Identified, wait::WaitArguments};

/// What can be done with recovery points.
#[derive(Debug, Subcommand)]
pub enum PointCommand {
    /// Lists recovery points, oldest first.
    #[command(visible_alias = "ls", after_long_help = "Example:\n  holdfast point list --vm web-1")]
    List(List),
    /// Shows one recovery point: how sound it is, its disks, and what it cost the guest.
    ///
    /// With -o json also the VM's definition at that moment.
    #[command(after_long_help = "Example:\n  holdfast point show point:web-1/latest")]
    Show(Show),
    /// Deletes recovery points. Until their time is over they can be brought back; vault gc then gives their space back.
    ///
    /// Points under a legal hold, and those that an immutable vault still retains, are refused. All that are named go, or none.
    Delete(Delete),
    /// Brings deleted recovery points back.
    #[command(
        after_long_help = "Example:\n  holdfast point list --deleted\n  holdfast point undelete point:web-1/latest"
    )]
    Undelete(Points),
    /// Puts recovery points under a legal hold: nobody may delete them until they are released.
    Hold(Hold),
    /// Boots a recovery point, or a moment of a replica, in isolation, and says whether it works.
    ///
    /// A VM without networks runs from the vault until it gives a sign of life, is checked where that is wanted, and is gone again. The
    /// verdict, the time it took and a picture of its screen are kept with the point.
    Test(Test),
    /// Releases recovery points from their legal hold.
    #[command(after_long_help = "Example:\n  holdfast point release point:web-1/latest")]
    Release(Points),
}

/// Boots a recovery point.
#[derive(Debug, Args)]
#[command(after_long_help = TEST_EXAMPLES)]
pub struct Test {
    /// The point, as point:VM/POINT; a snapshot, as snapshot:NAME; or a moment of a replica, as replica:VM[/MOMENT].
    #[arg(value_name = "REF")]
    reference: String,
    /// Wait until the guest writes this to its serial port, rather than for its agent.
    #[arg(long, value_name = "TEXT")]
    console: Option<String>,
    /// Read a copy instead of the vault, which need not be there any more: COPY, or VAULT/COPY.
    #[arg(long, value_name = "COPY")]
    from_copy: Option<String>,
    /// How long the boot may take, and the check again.
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration, default_value = "5m")]
    limit: Duration,
    #[command(flatten)]
    wait: WaitArguments,
    /// A program in the guest, with its arguments, that must end with 0.
    #[arg(last = true, value_name = "CHECK")]
    check: Vec<String>,
}

const TEST_EXAMPLES: &str = "\
Examples:
  holdfast point test point:web-1/latest
  holdfast point test point:db-1/latest --limit 10m -- /usr/bin/pg_isready
  holdfast point test point:router/latest --console 'login:'
  holdfast point test replica:web-1/latest-application";

/// Lists recovery points.
#[derive(Debug, Args)]
pub struct List {
    /// Only those of this VM, by name or id.
    #[arg(long)]
    vm: Option<String>,
    /// Also those that are deleted and can still be brought back.
    #[arg(long)]
    deleted: bool,
}

/// Some recovery points.
#[derive(Debug, Args)]
pub struct Points {
    /// The points: point:VM/POINT, where POINT is latest, an id or the start of one, or a time.
    #[arg(value_name = "REF", required = true)]
    references: Vec<String>,
}

/// Deletes recovery points.
#[derive(Debug, Args)]
#[command(after_long_help = DELETE_EXAMPLES)]
pub struct Delete {
    #[command(flatten)]
    points: Points,
    /// Show what would be deleted, or why it may not be, and delete nothing.
    #[arg(long)]
    dry_run: bool,
}

const DELETE_EXAMPLES: &str = "\
Examples:
  holdfast point delete point:web-1/2026-03-01T14:05:00Z --dry-run
  holdfast point delete point:web-1/01jn8 point:web-1/01jn9";

/// Puts recovery points under a legal hold.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  holdfast point hold point:web-1/latest --reason 'case 2026-17'")]
pub struct Hold {
    #[command(flatten)]
    points: Points,
    /// Why, for those who will want to delete them.
    #[arg(long)]
    reason: String,
}

/// Shows a recovery point.
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    reference: ReferenceArgument,
}

/// The moment of a VM that a command is about, or a disk of it.
#[derive(Debug, Args)]
pub struct MomentArgument {
    /// The point: point:VM/POINT[/DISK], where POINT is latest, an id or the start of one, or a time as in
    /// 2026-03-01T14:05:00Z, which means the newest point until then; or a snapshot: snapshot:NAME[/DISK].
    #[arg(value_name = "REF")]
    reference: String,
}

impl MomentArgument {
    /// The reference as it was written, once it is known to be one.
    pub fn checked(&self) -> Result<String, Failure> {
        checked_moment(&self.reference)
    }
}

/// A reference to a point or a snapshot as it was written, once it is known to be one.
pub fn checked_moment(text: &str) -> Result<String, Failure> {
    if !text.starts_with("snapshot:") {
        return checked(text);
    }
    match text.parse::<SnapshotReference>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Failure::usage(error.to_string())
            .with_hint("holdfast snapshot list shows the names of all snapshots")),
    }
}

/// The recovery point that a command is about.
#[derive(Debug, Args)]
pub struct ReferenceArgument {
    /// The point: point:VM/POINT[/DISK], where POINT is latest, an id or the start of one, or a time as in
    /// 2026-03-01T14:05:00Z, which means the newest point until then.
    #[arg(value_name = "REF")]
    reference: String,
}

impl ReferenceArgument {
    /// The reference as it was written, once it is known to be one.
    pub fn checked(&self) -> Result<String, Failure> {
        checked(&self.reference)
    }

    /// The reference.
    pub fn parsed(&self) -> Result<PointReference, Failure> {
        parse(&self.reference)
    }
}

impl Points {
    /// The references as they were written, once they are known to be some.
    fn checked(self) -> Result<Vec<String>, Failure> {
        self.references.into_iter().map(|reference| checked(&reference)).collect()
    }
}

/// A reference as it was written, once it is known to be one.
fn checked(text: &str) -> Result<String, Failure> {
    parse(text).map(|_| text.to_owned())
}

fn parse(text: &str) -> Result<PointReference, Failure> {
    text.parse().map_err(|error: ParseReferenceError| {
        let prefixed = format!("point:{text}");
        let failure = Failure::usage(error.to_string());
        match prefixed.parse::<PointReference>() {
            Ok(_) => failure.with_hint(format!("write {prefixed}")),
            Err(_) => failure.with_hint("holdfast point list shows the references of all points"),
        }
    })
}

/// Told where an answer names no point; it names at least one.
const NONE_CHANGED: &str = "no recovery point was changed";

/// A reference to what can be booted as a VM, once it is known to be one.
fn bootable(reference: String) -> Result<String, Failure> {
    match reference.starts_with("replica:") {
        false => checked_moment(&reference),
        true => match reference.parse::<ReplicaReference>() {
            Ok(_) => Ok(reference),
            Err(error) => Err(Failure::usage(error.to_string())
                .with_hint("holdfast replica points VM shows moments of a replica")),
        },
    }
}

impl Test {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let request = TestPoint {
            reference: bootable(self.reference)?,
            from_copy: self.from_copy,
            console: self.console,
            check: self.check,
            limit_seconds: self.limit.as_secs().max(1),
        };
        let job = context.client.test_point(&request).await?;
        self.wait.finish(context, &job).await
    }
}

impl Delete {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut request = DeletePoints { references: self.points.checked()?, dry_run: true };
        let points = context.client.delete_points(&request).await?;
        if self.dry_run {
            context.note("these would be deleted; nothing was changed");
            return context.output.list(&points, NONE_CHANGED);
        }
        let what = match points.as_slice() {
            [point] => format!("{} of {}", point.id, point.vm_name),
            points => format!("{} recovery points", points.len()),
        };
        context.confirm(&format!("Delete {what}?"))?;
        // By id: what is latest now may not be any more.
        request.references = points.iter().map(Identified::id).collect();
        request.dry_run = false;
        let deleted = context.client.delete_points(&request).await?;
        context.output.list(&deleted, NONE_CHANGED)
    }
}

impl PointCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(List { vm, deleted }) => {
                let none = match &vm {
                    Some(vm) => format!("no recovery points of {vm} yet"),
                    None => format!("no recovery points yet; make one: {}", context.command("backup VM")),
                };
                context.output.list(&context.client.points(vm.as_deref(), deleted).await?, &none)
            }
            Self::Show(Show { reference }) => {
                context.output.one(&context.client.point(&reference.checked()?).await?)
            }
            Self::Delete(delete) => delete.run(context).await,
            Self::Undelete(points) => {
                let request = ChosenPoints { references: points.checked()? };
                context.output.list(&context.client.undelete_points(&request).await?, NONE_CHANGED)
            }
            Self::Test(test) => test.run(context).await,
            Self::Hold(Hold { points, reason }) => {
                let request = HoldPoints { references: points.checked()?, reason };
                context.output.list(&context.client.hold_points(&request).await?, NONE_CHANGED)
            }
            Self::Release(points) => {
                let request = ChosenPoints { references: points.checked()? };
                context.output.list(&context.client.release_points(&request).await?, NONE_CHANGED)
            }
        }
    }
}
