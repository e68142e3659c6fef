//! Recovery points.

use clap::{Args, Subcommand};
use model::PointReference;

use crate::{context::Context, failure::Failure};

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
}

/// Lists recovery points.
#[derive(Debug, Args)]
pub struct List {
    /// Only those of this VM, by name or id.
    #[arg(long)]
    vm: Option<String>,
}

/// Shows a recovery point.
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    reference: ReferenceArgument,
}

/// The image that a command is about.
#[derive(Debug, Args)]
pub struct ReferenceArgument {
    /// The point: point:VM/POINT[/DISK], where POINT is latest, an id or the start of one, or a time as in
    /// 2026-03-01T14:05:00Z, which means the newest point until then.
    #[arg(value_name = "REF")]
    reference: String,
}

impl ReferenceArgument {
    /// The reference as it was written, once it is known to be one.
    pub fn checked(self) -> Result<String, Failure> {
        match self.reference.parse::<PointReference>() {
            Ok(_) => Ok(self.reference),
            Err(error) => {
                let prefixed = format!("point:{}", self.reference);
                let failure = Failure::usage(error.to_string());
                Err(match prefixed.parse::<PointReference>() {
                    Ok(_) => failure.with_hint(format!("write {prefixed}")),
                    Err(_) => failure.with_hint("holdfast point list shows the references of all points"),
                })
            }
        }
    }
}

impl PointCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(List { vm }) => {
                let none = match &vm {
                    Some(vm) => format!("no recovery points of {vm} yet"),
                    None => format!("no recovery points yet; make one: {}", context.command("backup VM")),
                };
                context.output.list(&context.client.points(vm.as_deref()).await?, &none)
            }
            Self::Show(Show { reference }) => {
                context.output.one(&context.client.point(&reference.checked()?).await?)
            }
        }
    }
}
