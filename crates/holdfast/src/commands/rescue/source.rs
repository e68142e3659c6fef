//! The vault to rescue from: where it is, and what opens it.

use std::path::PathBuf;

use api::UnlockWith;
use clap::Args;
use env::Env;
use vault::{ErrorKind, Passphrase, StoreLocation, Unlock, Vault};

use crate::{
    exit::Exit,
    failure::Failure,
    location,
    secret::{self, Typed, UnlockArguments},
};

/// Where the vault is, and what opens it.
#[derive(Debug, Args)]
#[command(next_help_heading = "The vault")]
pub struct SourceArguments {
    /// Where the vault, or a copy of it, is: a path, file://, s3://bucket/prefix, az://account/container/prefix,
    /// gs://bucket/prefix or sftp://user@host/path.
    #[arg(long, global = true)]
    url: Option<String>,
    /// Use the key in this file: a key file, somebody's identity file, or a host's writer key.
    #[arg(long, global = true, value_name = "PATH")]
    key_file: Option<PathBuf>,
    /// Use a passphrase: HOLDFAST_PASSWORD, the first line of the file HOLDFAST_PASSWORD_FILE, what HOLDFAST_PASSWORD_COMMAND
    /// prints, or what is typed on the terminal; the first of them that is set.
    #[arg(long, global = true)]
    passphrase: bool,
    /// Use a recovery kit: the file that the page is in, or the key on it, typed on the terminal.
    #[arg(long, global = true, value_name = "PATH", num_args = 0..=1, require_equals = true)]
    kit: Option<Option<PathBuf>>,
}

impl SourceArguments {
    /// The vault, opened.
    pub async fn open(&self) -> Result<Vault, Failure> {
        let url = self.url()?;
        let unlock = self.unlock()?;
        let location = StoreLocation::parse(&url).map_err(Failure::from)?;
        Vault::open(&location, &unlock, Env::system()).await.map_err(|error| {
            let is_absent = error.kind() == ErrorKind::NotFound;
            let mut failure = Failure::from(error);
            if is_absent {
                failure.exit = Exit::NoVault;
            }
            failure
        })
    }

    /// Where the vault is.
    pub fn url(&self) -> Result<String, Failure> {
        let url = self.url.as_deref().ok_or_else(|| {
            Failure::usage("where the vault is is not given").with_hint("add --url URL, or --url and a path")
        })?;
        location::store_url(url)
    }

    fn unlock(&self) -> Result<Unlock, Failure> {
        let ways = [self.key_file.is_some(), self.passphrase, self.kit.is_some()];
        match ways.iter().filter(|is_given| **is_given).count() {
            1 => {}
            0 => {
                return Err(Failure::usage("what opens the vault is not given")
                    .with_hint("add --key-file PATH, --passphrase, --kit, or --kit=PATH"));
            }
            _ => return Err(Failure::usage("give one of --key-file, --passphrase and --kit, not several")),
        }
        if let Some(kit) = &self.kit {
            let text = match kit {
                Some(path) => secret::kit::key_in(&secret::read(path)?),
                None => secret::ask("the kit's key, all groups in one line: ")?,
            };
            return text.parse().map(Unlock::KeyFile).map_err(Failure::from);
        }
        match UnlockArguments::new(self.passphrase, self.key_file.clone()).unlock_with(Typed::Once)? {
            Some(UnlockWith::KeyFile(text)) => text.parse().map_err(Failure::from),
            Some(UnlockWith::Passphrase(text)) => Ok(Unlock::Passphrase(Passphrase::new(text))),
            None => Err(Failure::usage("what opens the vault is not given")),
        }
    }
}
