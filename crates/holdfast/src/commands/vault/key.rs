//! The keys that open a vault.

use std::path::PathBuf;

use api::{AddKey, AddedKey, MakeRecoveryKit, NewKeyWith, UnlockWith};
use clap::{ArgGroup, Args, Subcommand};

use crate::{
    context::Context,
    failure::Failure,
    output::{self, Tone, tell},
    secret::{KeyFile, Typed, UnlockArguments},
};

/// What can be done with the keys of a vault.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Gives a vault another key.
    #[command(after_long_help = ADD_EXAMPLES)]
    Add(Add),
    /// Lists the keys of a vault.
    #[command(visible_alias = "ls", after_long_help = "Example:\n  holdfast vault key list main")]
    List(List),
    /// Takes a key from a vault; the last one stays.
    ///
    /// Who has copied the store's objects and has the key still reads that copy.
    #[command(after_long_help = "Example:\n  holdfast vault key remove main 3f9a --dry-run")]
    Remove(Remove),
    /// Puts a new key in the place of an old one, which goes once the new one is known to open the vault.
    ///
    /// Nothing is encrypted anew, so it takes a moment only.
    #[command(after_long_help = "Example:\n  holdfast vault key rotate main 3f9a --passphrase --label ops")]
    Rotate(Rotate),
    /// Makes a recovery kit: a page to print, with a key of its own and all that somebody needs who has nothing else.
    ///
    /// Whoever has the page and reaches the store reads the vault. The server keeps no copy of it.
    #[command(after_long_help = KIT_EXAMPLES)]
    Kit(Kit),
}

const ADD_EXAMPLES: &str = "\
Examples:
  holdfast vault key add main --passphrase --label 'ops team'
  holdfast vault key add main --save-key /media/usb/main.key --label 'usb stick in the safe'
  holdfast vault key add main --recipient holdfast-recipient-1-… --label auditor";

const KIT_EXAMPLES: &str = "\
Examples:
  holdfast vault key kit main | lpr
  holdfast vault key kit main --save kit.txt --place s3://bucket/prefix";

/// A new key.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("new_key").required(true).args(["passphrase", "key_file", "recipient", "save_key"]))]
pub struct NewKeyArguments {
    #[command(flatten)]
    unlock: UnlockArguments,
    /// Somebody's recipient: only the identity file that belongs to it opens the vault.
    #[arg(long)]
    recipient: Option<String>,
    /// Make a new key and save it in this file, which must not exist. The server keeps no copy of it.
    #[arg(long, value_name = "PATH")]
    save_key: Option<PathBuf>,
    /// What people call it, at most 48 bytes.
    #[arg(long)]
    label: Option<String>,
}

/// Gives a vault a key.
#[derive(Debug, Args)]
pub struct Add {
    /// The vault, by name or id.
    vault: String,
    #[command(flatten)]
    new: NewKeyArguments,
}

/// Lists keys.
#[derive(Debug, Args)]
pub struct List {
    /// The vault, by name or id.
    vault: String,
}

/// Takes a key from a vault.
#[derive(Debug, Args)]
pub struct Remove {
    /// The vault, by name or id.
    vault: String,
    /// The key, by id or the start of one.
    key: String,
    /// Show the key that would be removed, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Puts a key in another's place.
#[derive(Debug, Args)]
pub struct Rotate {
    /// The vault, by name or id.
    vault: String,
    /// The old key, by id or the start of one.
    key: String,
    #[command(flatten)]
    new: NewKeyArguments,
}

/// Makes a recovery kit.
#[derive(Debug, Args)]
pub struct Kit {
    /// The vault, by name or id.
    vault: String,
    /// Save the page in this file, which must not exist, instead of printing it on standard output.
    #[arg(long, value_name = "PATH")]
    save: Option<PathBuf>,
    /// Where the vault is, as somebody elsewhere would reach it; its URL where it is left out.
    #[arg(long, value_name = "URL")]
    place: Option<String>,
}

impl KeyCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Add(Add { vault, new }) => {
                let (request, file) = new.read()?;
                finish(context, client.add_key(&vault, &request).await?, file)
            }
            Self::List(List { vault }) => {
                context.output.list(&client.keys(&vault).await?, &format!("no key opens {vault}"))
            }
            Self::Remove(remove) => remove.run(context).await,
            Self::Rotate(Rotate { vault, key, new }) => {
                let (request, file) = new.read()?;
                context.confirm(&format!("Take the key {key} from {vault} once the new one opens it?"))?;
                finish(context, client.rotate_key(&vault, &key, &request).await?, file)
            }
            Self::Kit(kit) => kit.run(context).await,
        }
    }
}

impl NewKeyArguments {
    /// The request, and the file for the key that the server makes.
    fn read(self) -> Result<(AddKey, Option<KeyFile>), Failure> {
        let with = match (self.unlock.unlock_with(Typed::Twice)?, self.recipient) {
            (Some(UnlockWith::Passphrase(text)), _) => Some(NewKeyWith::Passphrase(text)),
            (Some(UnlockWith::KeyFile(text)), _) => Some(NewKeyWith::KeyFile(text)),
            (None, recipient) => recipient.map(NewKeyWith::Recipient),
        };
        // The file comes first: a key that could not be saved should not come to be.
        let file = self.save_key.as_deref().map(KeyFile::create).transpose()?;
        Ok((AddKey { label: self.label, with }, file))
    }
}

fn finish(context: &Context, added: AddedKey, file: Option<KeyFile>) -> Result<(), Failure> {
    if let (Some(key), Some(file)) = (&added.key_file, file) {
        file.write(key)?;
    }
    context.output.one(&added.slot)
}

impl Remove {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { vault, key, dry_run } = self;
        let mut keys = context.client.keys(&vault).await?;
        keys.retain(|slot| slot.id.starts_with(&key));
        if dry_run {
            context.note("this key would be removed; nothing was changed");
            return context.output.list(&keys, &format!("{vault} has no key {key}"));
        }
        let label = match keys.as_slice() {
            [slot] if !slot.label.is_empty() => format!("{key} ({})", slot.label),
            _ => key.clone(),
        };
        context.confirm(&format!("Take the key {label} from {vault}? It opens it no more."))?;
        context.client.remove_key(&vault, &key).await?;
        context.note(&format!("the key {label} opens {vault} no more"));
        Ok(())
    }
}

impl Kit {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let file = self.save.as_deref().map(KeyFile::create).transpose()?;
        let request = MakeRecoveryKit { place: self.place };
        let kit = context.client.make_recovery_kit(&self.vault, &request).await?;
        match (file, self.save) {
            (Some(file), Some(path)) => {
                file.write(&kit.page)?;
                context.note(&format!("the recovery kit is in {}", path.display()));
                context.output.one(&kit.slot)?;
            }
            _ => output::print(&kit.page)?,
        }
        tell(Tone::Warning, "print it, keep it in a safe, and delete every file that holds it");
        Ok(())
    }
}
