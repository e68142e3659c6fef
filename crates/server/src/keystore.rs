//! The keys of vaults that this site may open unattended: files that only the server's user can read.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use model::VaultId;
use vault::KeptKey;

use crate::failure::{Failure, Result};

/// No key file is longer than this, in bytes.
const FILE_LIMIT_BYTES: u64 = 4096;

/// The directory of keys.
#[derive(Debug)]
pub(crate) struct KeyStore {
    directory: PathBuf,
}

impl KeyStore {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Keeps the key that opens a vault unattended. Durable when this returns.
    pub(crate) fn save(&self, vault_id: VaultId, key: &KeptKey) -> Result<()> {
        self.write(&self.kept_key(vault_id), &key.to_text())
    }

    /// Keeps a key file that the site made: for a vault, under its id, in case the copy that the user was given is lost; for
    /// the snapshot store, under its name.
    pub(crate) fn save_key_file(&self, owner: &str, text: &str) -> Result<()> {
        self.write(&self.key_file(owner), text)
    }

    /// The key file that was kept; none when there was none.
    pub(crate) fn load_key_file(&self, owner: &str) -> Result<Option<String>> {
        read(&self.key_file(owner))
    }

    /// The kept key of a vault; none when the site was never given it.
    pub(crate) fn load(&self, vault_id: VaultId) -> Result<Option<KeptKey>> {
        let path = self.kept_key(vault_id);
        let Some(text) = read(&path)? else { return Ok(None) };
        let key = text.parse::<KeptKey>().map_err(|error| {
            Failure::new(api::Code::WrongKey, format!("{} does not hold a key: {error}", path.display()))
                .with_hint("attach the vault again with its passphrase or key file")
        })?;
        Ok(Some(key))
    }

    fn kept_key(&self, vault_id: VaultId) -> PathBuf {
        self.directory.join(format!("{vault_id}.key"))
    }

    fn key_file(&self, owner: &str) -> PathBuf {
        self.directory.join(format!("{owner}.key-file"))
    }

    /// Writes a file as a whole or not at all.
    fn write(&self, path: &Path, text: &str) -> Result<()> {
        let partial = path.with_extension("partial");
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&partial, path))
            .and_then(|()| File::open(&self.directory)?.sync_all());
        written.map_err(|error| Failure::from_io(format!("writing {}", path.display()), &error))
    }
}

/// The text of a file; none where there is no file.
fn read(path: &Path) -> Result<Option<String>> {
    let failed = |error: std::io::Error| Failure::from_io(format!("reading {}", path.display()), &error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(FILE_LIMIT_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests;
