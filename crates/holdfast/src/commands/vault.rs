//! Vaults.

mod copy;
mod immutability;
mod key;
mod upkeep;

use std::path::PathBuf;

use api::{AttachVault, CreateVault};
use clap::{Args, Subcommand};
use model::VaultName;

pub use self::{
    copy::CopyCommand,
    immutability::ImmutabilityCommand,
    key::KeyCommand,
    upkeep::{Collect, Doctor, Repair, Verify},
};

use crate::{
    context::Context,
    failure::Failure,
    location,
    output::{Tone, tell},
    secret::{KeyFile, Typed, UnlockArguments},
};

/// What can be done with vaults.
#[derive(Debug, Subcommand)]
pub enum VaultCommand {
    /// Creates a vault.
    ///
    /// Everything in a vault is encrypted. Without --passphrase and --key-file a new key file is made; the server keeps it,
    /// and --save-key saves a copy. Keep one elsewhere: without its key nobody ever reads the vault, on any machine.
    #[command(after_long_help = CREATE_EXAMPLES)]
    Create(Create),
    /// Makes a vault known that exists already, so that its recovery points can be restored here.
    #[command(after_long_help = ATTACH_EXAMPLES)]
    Attach(Attach),
    /// Lists the vaults.
    #[command(visible_alias = "ls", after_long_help = "Example:\n  holdfast vault list -o json")]
    List,
    /// Shows one vault: where it is, whether it opens, and what it holds.
    #[command(after_long_help = "Example:\n  holdfast vault show main")]
    Show(Show),
    /// Tries out whether a store can hold a vault, before anything of value is in it.
    ///
    /// Writes, reads, lists and deletes some objects of its own, which do not stay. Exits with 8 when the store is unfit.
    Doctor(Doctor),
    /// Reads a vault back, checks every byte, and names what is damaged and which points it hurts.
    ///
    /// The log, the index, the points and the maps are always checked in full. Exits with 8 when something is damaged.
    Verify(Verify),
    /// Heals what is damaged or missing: from copies of the vault, and from what it knows twice.
    ///
    /// What is sound is never touched. Exits with 8 when damage stays, and names the points that it hurts.
    Repair(Repair),
    /// Gives back the space of deleted points whose time is over.
    ///
    /// Backups may run meanwhile, on any host. A collection that is killed is finished by the next one.
    Gc(Collect),
    /// Copies of a vault in other places, kept up to date after each backup.
    #[command(subcommand)]
    Copy(CopyCommand),
    /// The keys that open a vault.
    #[command(subcommand)]
    Key(KeyCommand),
    /// What a vault promises about deletion, whoever asks.
    #[command(subcommand)]
    Immutability(ImmutabilityCommand),
}

const CREATE_EXAMPLES: &str = "\
Examples:
  holdfast vault create main --save-key /media/usb/main.key
  holdfast vault create offsite --url 's3://bucket/prefix?region=eu-1' --passphrase";

const ATTACH_EXAMPLES: &str = "\
Examples:
  holdfast vault attach main --url /mnt/nas/vault --key-file /media/usb/main.key
  holdfast vault attach main --url sftp://backup@nas/vault --passphrase --write-only";

/// Creates a vault.
#[derive(Debug, Args)]
pub struct Create {
    /// The vault's name on this site.
    name: VaultName,
    /// Where it is: a path, file://, s3://bucket/prefix, az://account/container/prefix, gs://bucket/prefix or
    /// sftp://user@host/path. A directory of the site's own
    /// where it is left out.
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    unlock: UnlockArguments,
    /// Save a copy of the new key in this file, which must not exist.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["passphrase", "key_file"])]
    save_key: Option<PathBuf>,
}

/// Makes an existing vault known.
#[derive(Debug, Args)]
pub struct Attach {
    /// The vault's name on this site.
    name: VaultName,
    /// Where it is: a path, file://, s3://bucket/prefix, az://account/container/prefix, gs://bucket/prefix or
    /// sftp://user@host/path.
    #[arg(long)]
    url: String,
    #[command(flatten)]
    unlock: UnlockArguments,
    /// Let the site only add to the vault: it backs up, and cannot read the data of disks, also when it is stolen. It
    /// cannot restore either; that takes another site, or holdfast rescue, with a key that reads.
    #[arg(long)]
    write_only: bool,
}

/// Shows a vault.
#[derive(Debug, Args)]
pub struct Show {
    /// The vault, by name or id.
    vault: String,
}

impl VaultCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Create(create) => create.run(context).await,
            Self::Attach(attach) => context.output.one(&client.attach_vault(&attach.request()?).await?),
            Self::List => {
                let none = format!("no vaults yet; create one: {}", context.command("vault create main"));
                context.output.list(&client.vaults().await?, &none)
            }
            Self::Show(Show { vault }) => context.output.one(&client.vault(&vault).await?),
            Self::Doctor(doctor) => doctor.run(context).await,
            Self::Verify(verify) => verify.run(context).await,
            Self::Repair(repair) => repair.run(context).await,
            Self::Gc(collect) => collect.run(context).await,
            Self::Copy(command) => command.run(context).await,
            Self::Key(command) => command.run(context).await,
            Self::Immutability(command) => command.run(context).await,
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let request = CreateVault {
            name: self.name.to_string(),
            url: self.url.as_deref().map(location::store_url).transpose()?,
            unlock_with: self.unlock.unlock_with(Typed::Twice)?,
        };
        // The file comes first: a vault whose key could not be saved should not come to be.
        let file = self.save_key.as_deref().map(KeyFile::create).transpose()?;
        let created = context.client.create_vault(&request).await?;
        match (created.key_file, file, self.save_key) {
            (Some(key), Some(file), Some(path)) => {
                file.write(&key)?;
                context.note(&format!("the key is in {} and with the server", path.display()));
                tell(Tone::Warning, "keep that file elsewhere too: without it nobody ever reads the vault");
            }
            (Some(_), ..) => {
                let kept = context.kept_key_file(created.vault.id);
                tell(
                    Tone::Warning,
                    &format!(
                        "without its key nobody ever reads the vault, and the only one is {}: copy it to another place",
                        kept.display()
                    ),
                );
            }
            (None, ..) => {
                tell(
                    Tone::Warning,
                    "keep what opens the vault elsewhere too: without it nobody ever reads it",
                );
            }
        }
        context.output.one(&created.vault)
    }
}

impl Attach {
    fn request(&self) -> Result<AttachVault, Failure> {
        let unlock_with = self.unlock.unlock_with(Typed::Once)?.ok_or_else(|| {
            Failure::usage("what opens the vault is not given")
                .with_hint("add --key-file PATH or --passphrase")
        })?;
        Ok(AttachVault {
            name: self.name.to_string(),
            url: location::store_url(&self.url)?,
            unlock_with,
            write_only: self.write_only,
        })
    }
}
