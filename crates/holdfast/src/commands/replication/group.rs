//! Consistency groups of VMs that are replicated from here.

use api::{AddGroupMember, CreateReplicationGroup, EditReplicationGroup};
use clap::{Args, Subcommand};
use model::GroupName;

use crate::{arguments, context::Context, failure::Failure};

/// What can be done with consistency groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Makes a consistency group of VMs that are replicated to one site.
    ///
    /// Again and again, and by command, a moment is marked in the journals of all members at once: the other site can bring all of
    /// them back to it, and none shows what follows from something that another one does not show. For that, writes of all members
    /// wait for an answer for a few milliseconds, 50 at most.
    #[command(after_long_help = CREATE_EXAMPLES)]
    Create(Create),
    /// Lists the groups: how each stands, and how much would be lost now.
    #[command(visible_alias = "ls", after_long_help = "Example:\n  holdfast replication group list")]
    List,
    /// Shows a group: its members, its shared checkpoints, and for how long writes waited for them.
    #[command(after_long_help = "Example:\n  holdfast replication group show shop")]
    Show(Named),
    /// Takes VMs into a group. The other site offers moments that all share from then on.
    #[command(after_long_help = "Example:\n  holdfast replication group add shop cache-1")]
    Add(Members),
    /// Takes VMs out of a group; they go on being replicated. With the last one the group goes.
    #[command(after_long_help = "Example:\n  holdfast replication group remove shop cache-1")]
    Remove(Members),
    /// Changes how often a shared checkpoint is made.
    #[command(after_long_help = "Example:\n  holdfast replication group edit shop --every 5s")]
    Edit(Edit),
    /// Ends a group. Its VMs go on being replicated, each by itself.
    #[command(after_long_help = "Example:\n  holdfast replication group delete shop")]
    Delete(Named),
}

const CREATE_EXAMPLES: &str = "\
Examples:
  holdfast replication group create shop --vm web-1 --vm app-1 --vm db-1
  holdfast replication group create shop --vm app-1 --vm db-1 --every 5s";

/// Makes a group.
#[derive(Debug, Args)]
pub struct Create {
    /// What it is called.
    name: GroupName,
    /// A VM in it, by name or id. Given once for each.
    #[arg(long, value_name = "VM", required = true)]
    vm: Vec<String>,
    /// How often a shared checkpoint is made, as in 500ms or 5s.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = milliseconds)]
    every: u32,
}

/// Names a group.
#[derive(Debug, Args)]
pub struct Named {
    /// The group, by name or id.
    group: String,
}

/// Names a group and VMs.
#[derive(Debug, Args)]
pub struct Members {
    /// The group, by name or id.
    group: String,
    /// The VMs, by name or id.
    #[arg(required = true)]
    vms: Vec<String>,
}

/// Changes a group.
#[derive(Debug, Args)]
pub struct Edit {
    /// The group, by name or id.
    group: String,
    /// How often a shared checkpoint is made, as in 500ms or 5s.
    #[arg(long, value_name = "DURATION", value_parser = milliseconds)]
    every: u32,
}

impl GroupCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Create(Create { name, vm, every }) => {
                let request =
                    CreateReplicationGroup { name: name.to_string(), vms: vm, every_ms: Some(every) };
                context.output.one(&client.create_replication_group(&request).await?)
            }
            Self::List => {
                let create = context.command("replication group create NAME --vm A --vm B");
                let none = format!("no consistency groups; make one with: {create}");
                context.output.list(&client.replication_groups().await?, &none)
            }
            Self::Show(Named { group }) => context.output.one(&client.replication_group(&group).await?),
            Self::Add(Members { group, vms }) => {
                for vm in vms {
                    client.add_group_member(&group, &AddGroupMember { vm }).await?;
                }
                context.output.one(&client.replication_group(&group).await?)
            }
            Self::Remove(Members { group, vms }) => {
                let view = client.replication_group(&group).await?;
                context.confirm(&format!("Take {} out of {}?", vms.join(", "), view.name))?;
                for vm in vms {
                    client.remove_group_member(&group, &vm).await?;
                    context.note(&format!("{vm} is in {} no more; it goes on being replicated", view.name));
                }
                Ok(())
            }
            Self::Edit(Edit { group, every }) => {
                let request = EditReplicationGroup { every_ms: every };
                context.output.one(&client.edit_replication_group(&group, request).await?)
            }
            Self::Delete(Named { group }) => {
                let view = client.replication_group(&group).await?;
                context.confirm(&format!("End the consistency group {}?", view.name))?;
                client.delete_replication_group(&group).await?;
                context.note(&format!("the group {} has ended; its VMs go on being replicated", view.name));
                Ok(())
            }
        }
    }
}

/// Reads a duration of whole milliseconds.
fn milliseconds(text: &str) -> Result<u32, String> {
    let duration = arguments::duration(text)?;
    match u32::try_from(duration.as_millis()) {
        Ok(milliseconds @ 100..=3_600_000) => Ok(milliseconds),
        _ => Err("write 100ms to 1h".to_owned()),
    }
}
