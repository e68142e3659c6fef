//! Copies of vaults.

use api::AddCopy;
use clap::{Args, Subcommand};
use model::CopyName;

use crate::{context::Context, failure::Failure, location, wait::WaitArguments};

/// What can be done with copies of a vault.
#[derive(Debug, Subcommand)]
pub enum CopyCommand {
    /// Gives a vault a copy in another place, and fills it.
    ///
    /// From then on the server keeps it up to date: after each backup into the vault, and when it starts. At every moment a
    /// copy is an earlier state of the vault, whole: it is opened by the same keys, restores without the vault, and can take
    /// its place with vault attach.
    #[command(after_long_help = ADD_EXAMPLES)]
    Add(Add),
    /// Lists a vault's copies, and how far each is behind.
    #[command(visible_alias = "ls", after_long_help = "Example:\n  holdfast vault copy list main")]
    List(List),
    /// Brings a copy up to date now.
    #[command(after_long_help = "Example:\n  holdfast vault copy sync main offsite")]
    Sync(Sync),
    /// Forgets a copy; what is in its store stays.
    #[command(after_long_help = "Example:\n  holdfast vault copy remove main offsite --dry-run")]
    Remove(Remove),
}

const ADD_EXAMPLES: &str = "\
Examples:
  holdfast vault copy add main nas --url sftp://backup@nas/srv/vault
  holdfast vault copy add main offsite --url 's3://bucket/prefix?region=eu-1' --no-wait";

/// Gives a vault a copy.
#[derive(Debug, Args)]
pub struct Add {
    /// The vault, by name or id.
    vault: String,
    /// The copy's name.
    name: CopyName,
    /// Where it is to be: a path, file://, s3://bucket/prefix, az://account/container/prefix, gs://bucket/prefix or
    /// sftp://user@host/path. Empty, or with a copy of this vault in it.
    #[arg(long)]
    url: String,
    #[command(flatten)]
    wait: WaitArguments,
}

/// Lists copies.
#[derive(Debug, Args)]
pub struct List {
    /// The vault, by name or id.
    vault: String,
}

/// Brings a copy up to date.
#[derive(Debug, Args)]
pub struct Sync {
    /// The vault, by name or id.
    vault: String,
    /// The copy.
    copy: String,
    #[command(flatten)]
    wait: WaitArguments,
}

/// Forgets a copy.
#[derive(Debug, Args)]
pub struct Remove {
    /// The vault, by name or id.
    vault: String,
    /// The copy.
    copy: String,
    /// Show the copy that would be forgotten, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl CopyCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Add(Add { vault, name, url, wait }) => {
                let request = AddCopy { name: name.to_string(), url: location::store_url(&url)? };
                wait.finish(context, &client.add_copy(&vault, &request).await?).await
            }
            Self::List(List { vault }) => {
                let add = format!("vault copy add {} NAME --url URL", api::shell_word(&vault));
                let none = format!("{vault} has no copies; add one: {}", context.command(&add));
                context.output.list(&client.copies(&vault).await?, &none)
            }
            Self::Sync(Sync { vault, copy, wait }) => {
                wait.finish(context, &client.sync_copy(&vault, &copy).await?).await
            }
            Self::Remove(remove) => remove.run(context).await,
        }
    }
}

impl Remove {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { vault, copy, dry_run } = self;
        if dry_run {
            context.note(&format!("the copy {copy} would be forgotten; what is in its store stays"));
            let mut copies = context.client.copies(&vault).await?;
            copies.retain(|known| known.name == copy);
            return context.output.list(&copies, &format!("{vault} has no copy {copy}"));
        }
        context.confirm(&format!("Forget the copy {copy} of {vault}? What is in its store stays."))?;
        context.client.remove_copy(&vault, &copy).await?;
        context.note(&format!("the copy {copy} is forgotten; what is in its store stays"));
        Ok(())
    }
}
