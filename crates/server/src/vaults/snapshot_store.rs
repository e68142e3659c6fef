//! The snapshot store: a vault that the site makes for itself and keeps the key of. It is known like any other, under a name
//! that no user's vault can have, and in no list of vaults.

use std::path::Path;

use catalog::KnownVault;
use model::{VaultName, VaultSettings};
use url::Url;
use vault::{KeyFile, NewKey, NewSlot, StoreLocation, Vault};

use super::Vaults;
use crate::failure::{Failure, Result};

/// The store's name.
const NAME: &str = "snapshot-store";

/// Whether a vault is the snapshot store.
pub(crate) fn is_snapshot_store(known: &KnownVault) -> bool {
    known.name.as_str() == NAME
}

/// Fails for the store's name.
pub(super) fn check_name(name: &VaultName) -> Result<()> {
    match name.as_str() {
        NAME => Err(Failure::conflict(format!("{NAME} is what the site calls its snapshot store"))
            .with_hint("choose another name for the vault")),
        _ => Ok(()),
    }
}

impl Vaults {
    /// The snapshot store, where it was made.
    pub(crate) async fn snapshot_store(&self) -> Result<Option<KnownVault>> {
        let Some(mut known) = self.catalog.vault(NAME).await?.filter(is_snapshot_store) else {
            return Ok(None);
        };
        // It moves with the data directory.
        let url = self.snapshot_store_url()?;
        if known.url != url {
            self.catalog.set_vault_url(known.id, &url).await?;
            known.url = url;
            self.forget(known.id);
        }
        Ok(Some(known))
    }

    /// The snapshot store, made at the first use.
    pub(crate) async fn snapshot_store_or_new(&self) -> Result<KnownVault> {
        let _admission = self.admission.lock().await;
        match self.snapshot_store().await? {
            Some(known) => Ok(known),
            None => self.make_snapshot_store().await,
        }
    }

    /// The snapshot store, where it was made; known again where the catalog has lost it.
    pub(crate) async fn snapshot_store_or_lost(&self) -> Result<Option<KnownVault>> {
        let _admission = self.admission.lock().await;
        match self.snapshot_store().await? {
            Some(known) => Ok(Some(known)),
            None if self.snapshots.exists() && self.keys.load_key_file(NAME)?.is_some() => {
                self.make_snapshot_store().await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// The key is kept first: a store that a dead server has made, or of which the catalog was lost, is opened with it.
    async fn make_snapshot_store(&self) -> Result<KnownVault> {
        let doing = "making the snapshot store";
        let key = match self.keys.load_key_file(NAME)? {
            Some(key) => key,
            None => {
                let key = KeyFile::generate(&*self.env.entropy).to_text();
                self.keys.save_key_file(NAME, &key)?;
                key
            }
        };
        let url = self.snapshot_store_url()?;
        let location = StoreLocation::parse(&url)?;
        let slot = NewSlot::unlabelled(NewKey::KeyFile(key.parse()?));
        self.discard_remains()?;
        let vault = match Vault::create(&location, &[slot], self.env.clone()).await {
            Err(error) if error.kind() == vault::ErrorKind::AlreadyExists => {
                Vault::open(&location, &key.parse()?, self.env.clone()).await
            }
            made => made,
        };
        let vault = vault.map_err(|error| super::failure_of_open(error).during(doing))?;
        // Deleted snapshots stay as long as the catalog says: the vault needs no days of its own.
        vault.set_settings(VaultSettings { soft_delete_days: 0, ..VaultSettings::default() }).await?;
        let name = NAME.parse().map_err(|error| Failure::invalid(format!("{error}")))?;
        let known = self.admit(name, url, vault.with_index_directory(&self.index), false).await?;
        tracing::info!(place = %self.snapshots.display(), "the snapshot store was made");
        Ok(known)
    }

    /// Removes what a server left that died while it made the store. A store gets its config last: one that has none, and nothing
    /// of a snapshot, was never finished.
    fn discard_remains(&self) -> Result<()> {
        let of_worth = ["packs", "index", "points"];
        if self.snapshots.join("config").exists()
            || of_worth.iter().any(|folder| has_files(&self.snapshots.join(folder)))
        {
            return Ok(());
        }
        let discard = || -> std::io::Result<()> {
            for entry in std::fs::read_dir(&self.snapshots)? {
                let path = entry?.path();
                tracing::warn!(path = %path.display(), "removed what is left of an unfinished snapshot store");
                if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
            }
            Ok(())
        };
        match discard() {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::from_io(format!("removing {}", self.snapshots.display()), &error))
            }
            _ => Ok(()),
        }
    }

    fn snapshot_store_url(&self) -> Result<String> {
        let url = Url::from_file_path(&self.snapshots);
        url.map(Into::into).map_err(|()| Failure::invalid("the data directory cannot be written as a URL"))
    }
}

/// Whether there is a file anywhere below a directory, or there may be one.
fn has_files(directory: &Path) -> bool {
    match std::fs::read_dir(directory) {
        Ok(entries) => entries.into_iter().any(|entry| match entry.map(|entry| entry.path()) {
            Ok(path) => !path.is_dir() || has_files(&path),
            Err(_) => true,
        }),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}
