//! The vaults of a site: made known, opened once, and kept open.

mod keys;
mod probe;
mod settings;
mod snapshot_store;
mod view;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use api::{AttachVault, Code, CreateVault, UnlockWith};
use catalog::{Catalog, KnownCopy, KnownVault};
use env::Env;
use model::{ByteCount, VaultId, VaultName};
use tokio::sync::{Mutex, OnceCell};
use url::Url;
use vault::{
    DiskMap, FrameCache, KeptKey, KeyFile, NewKey, NewSlot, Passphrase, StoreLocation, Unlock, Vault,
    VaultImage,
};

pub(crate) use self::{
    keys::{add_key, keys, make_recovery_kit, remove_key, rotate_key},
    probe::probe,
    settings::{change_settings, settings},
    snapshot_store::is_snapshot_store,
    view::{glance, view},
};
use crate::{
    directory::DataDirectory,
    failure::{Failure, Result},
    keystore::KeyStore,
};

/// Memory for what is kept of the disks that are served, whatever their number: it is used when the first is read.
const SERVED_FRAMES: ByteCount = ByteCount(128 << 20);

/// The vaults of a site.
pub(crate) struct Vaults {
    catalog: Catalog,
    keys: KeyStore,
    env: Env,
    /// Where the indexes of vaults lie.
    index: PathBuf,
    /// Where the snapshot store is.
    snapshots: PathBuf,
    served_frames: FrameCache,
    handles: std::sync::Mutex<BTreeMap<VaultId, Arc<OnceCell<Vault>>>>,
    /// Held while a vault becomes known, so that a check of its name stays true.
    admission: Mutex<()>,
}

impl Vaults {
    pub(crate) fn new(catalog: Catalog, directory: &DataDirectory, env: Env) -> Self {
        let (keys, index) = (KeyStore::new(directory.keys()), directory.index());
        let (handles, admission) = (std::sync::Mutex::default(), Mutex::new(()));
        let (snapshots, served_frames) = (directory.snapshots(), FrameCache::with_budget(SERVED_FRAMES));
        Self { catalog, keys, env, index, snapshots, served_frames, handles, admission }
    }

    /// All vaults that users know, by name.
    pub(crate) async fn list(&self) -> Result<Vec<KnownVault>> {
        let vaults = self.catalog.vaults().await?.into_iter();
        Ok(vaults.filter(|known| !is_snapshot_store(known)).collect())
    }

    /// The vault with this name or id.
    pub(crate) async fn find(&self, name_or_id: &str) -> Result<KnownVault> {
        self.catalog.vault(name_or_id).await?.ok_or_else(|| {
            Failure::not_found(format!("there is no vault {name_or_id}"))
                .with_hint("see them with: holdfast vault list; make one with: holdfast vault create NAME")
        })
    }

    /// The vault, opened now or before. A failure is not kept: the next call tries again.
    pub(crate) async fn open(&self, known: &KnownVault) -> Result<Vault> {
        match self.open_own(known).await {
            Err(failure) if may_lack_config(&failure) => self.open_by_copies(known).await,
            opened => opened,
        }
    }

    /// As [`Vaults::open`], by nothing but its own config: for whoever is to see that it is damaged.
    pub(crate) async fn open_own(&self, known: &KnownVault) -> Result<Vault> {
        let handle = self.lock().entry(known.id).or_default().clone();
        handle.get_or_try_init(|| self.open_anew(known)).await.cloned()
    }

    /// The vault for a job: whatever has happened since it was opened, it is still there and the stored key still opens
    /// it. One that has lost its config is opened all the same, so that it can be restored from and healed.
    pub(crate) async fn open_checked(&self, known: &KnownVault) -> Result<Vault> {
        let handle = self.lock().entry(known.id).or_default().clone();
        match self.open_anew(known).await {
            Ok(checked) => Ok(handle.get_or_init(|| async { checked }).await.clone()),
            Err(failure) if may_lack_config(&failure) => match handle.get() {
                // Whoever has the vault open knows its config.
                Some(vault) if failure.code() == Code::Damaged => {
                    let reason = failure.detail();
                    tracing::warn!(vault = %known.name, reason, "the vault is used as it was opened before");
                    Ok(vault.clone())
                }
                _ => self.open_by_copies(known).await,
            },
            Err(failure) => {
                self.forget(known.id);
                Err(failure)
            }
        }
    }

    /// Opens the vault by an earlier version of its config, or that of a copy, where its own is damaged or lost. Not kept, so that whoever looks at the vault
    /// sees the damage until it is healed.
    async fn open_by_copies(&self, known: &KnownVault) -> Result<Vault> {
        let copies = self.catalog.copies_of(known.id).await?;
        let copies: Vec<_> = copies.iter().filter_map(|copy| StoreLocation::parse(&copy.url).ok()).collect();
        self.open_at(known, &known.url, Some(&copies), format!("opening the vault {}", known.name)).await
    }

    /// Where somebody reads from, certainly open: the vault, or a copy of it.
    pub(crate) async fn open_source(&self, known: &KnownVault, copy: Option<&KnownCopy>) -> Result<Vault> {
        match copy {
            None => self.open_checked(known).await,
            Some(copy) => self.open_copy(known, copy).await,
        }
    }

    /// A disk that somebody reads all over: a guest, a client over NBD, the reader of files. All of them share what is kept
    /// in memory.
    pub(crate) async fn served_image(&self, vault: &Vault, map: &DiskMap) -> Result<VaultImage> {
        Ok(vault.image(map).await?.with_frames(&self.served_frames))
    }

    /// A copy of the vault, as a vault of its own. Nobody keeps it open.
    pub(crate) async fn open_copy(&self, known: &KnownVault, copy: &KnownCopy) -> Result<Vault> {
        let opening = format!("opening the copy {} of the vault {}", copy.name, known.name);
        self.open_at(known, &copy.url, None, opening).await
    }

    async fn open_anew(&self, known: &KnownVault) -> Result<Vault> {
        match self.open_at(known, &known.url, None, format!("opening the vault {}", known.name)).await {
            Err(failure) if failure.code() == Code::NoVault => {
                let hint = self.hint_where_lost(known).await;
                Err(failure.with_hint(hint))
            }
            opened => opened,
        }
    }

    /// What to do about a vault that is not where it was.
    pub(crate) async fn hint_where_lost(&self, known: &KnownVault) -> String {
        let copies = self.catalog.copies_of(known.id).await.unwrap_or_default();
        let mount = "mount its disk or share if it is not mounted";
        match copies.first() {
            Some(KnownCopy { name, url, .. }) => format!(
                "{mount}; if it is lost, restore from a copy: holdfast restore vm point:VM/latest --from-copy {name}, or \
                 without the server: holdfast rescue --url '{url}' list"
            ),
            None => format!("{mount}; it has no copy to restore from"),
        }
    }

    /// Opens the vault at a place; where its config is lost, by an earlier version of it or that of one of these copies, if
    /// they are to be asked.
    async fn open_at(
        &self,
        known: &KnownVault,
        url: &str,
        copies: Option<&[StoreLocation]>,
        opening: String,
    ) -> Result<Vault> {
        let reattach =
            || format!("give the site its key: holdfast vault attach {} --url {}", known.name, known.url);
        let key = self.keys.load(known.id).map_err(|failure| failure.during(&opening))?.ok_or_else(|| {
            Failure::new(Code::WrongKey, format!("{opening}: the site does not have its key"))
                .with_hint(reattach())
        })?;
        let location = StoreLocation::parse(url)?;
        let opened = match copies {
            None => Vault::open(&location, &key.into(), self.env.clone()).await,
            Some(copies) => Vault::open_with_copies(&location, copies, &key.into(), self.env.clone()).await,
        };
        let opened = opened.map_err(|error| match failure_of_open(error).during(&opening) {
            failure if failure.code() == Code::WrongKey => failure.with_hint(reattach()),
            failure => failure,
        })?;
        if opened.id() != known.id {
            return Err(Failure::new(Code::WrongKey, format!("{opening}: another vault is at {url} now")));
        }
        Ok(opened.with_index_directory(&self.index))
    }

    /// Creates a vault and makes it known. Returns the key file too where one was made for it.
    pub(crate) async fn create(
        &self,
        request: CreateVault,
        directory: &DataDirectory,
    ) -> Result<(KnownVault, Option<String>)> {
        let _admission = self.admission.lock().await;
        let name = self.free_name(&request.name).await?;
        let url = match request.url {
            Some(url) => url,
            None => Url::from_file_path(directory.vault(&name)?)
                .map_err(|()| Failure::invalid("the data directory cannot be written as a URL"))?
                .into(),
        };
        self.check_unclaimed(&url).await?;
        let location = StoreLocation::parse(&url)?;
        let (key, key_file) = match &request.unlock_with {
            Some(UnlockWith::Passphrase(text)) => (NewKey::Passphrase(passphrase(text)?), None),
            Some(UnlockWith::KeyFile(text)) => (NewKey::KeyFile(text.parse()?), None),
            None => {
                let made = KeyFile::generate(&*self.env.entropy);
                let text = made.to_text();
                (NewKey::KeyFile(made), Some(text))
            }
        };
        let vault = Vault::create(&location, &[NewSlot::unlabelled(key)], self.env.clone()).await?;
        let vault = vault.with_index_directory(&self.index);
        if let Some(text) = &key_file {
            self.keys.save_key_file(vault.id().as_str(), text)?;
        }
        let known = self.admit(name, url, vault, false).await?;
        Ok((known, key_file))
    }

    /// Makes an existing vault known; or takes in the key and the place of one that is known by this name.
    pub(crate) async fn attach(&self, request: AttachVault) -> Result<KnownVault> {
        let _admission = self.admission.lock().await;
        let location = StoreLocation::parse(&request.url)?;
        let unlock = match &request.unlock_with {
            UnlockWith::Passphrase(text) => Unlock::Passphrase(passphrase(text)?),
            UnlockWith::KeyFile(text) => text.parse()?,
        };
        let vault = Vault::open(&location, &unlock, self.env.clone()).await.map_err(failure_of_open)?;
        let vault = vault.with_index_directory(&self.index);
        let Some(mut known) =
            self.catalog.vault(vault.id().as_str()).await?.filter(|known| known.id == vault.id())
        else {
            let name = self.free_name(&request.name).await?;
            return self.admit(name, request.url, vault, request.write_only).await;
        };
        if known.name.as_str() != request.name {
            return Err(Failure::conflict(format!("this vault is known already, as {}", known.name)));
        }
        self.keys.save(known.id, &kept_key(&vault, request.write_only))?;
        if known.url != request.url {
            self.catalog.set_vault_url(known.id, &request.url).await?;
            known.url = request.url;
        }
        self.forget(known.id);
        Ok(known)
    }

    /// The key first: a vault that is known but cannot be opened helps nobody.
    async fn admit(
        &self,
        name: VaultName,
        url: String,
        vault: Vault,
        write_only: bool,
    ) -> Result<KnownVault> {
        let known = KnownVault { id: vault.id(), name, url, created_at: self.env.clock.now() };
        self.keys.save(known.id, &kept_key(&vault, write_only))?;
        self.catalog.add_vault(&known).await?;
        if !write_only {
            self.lock().insert(known.id, Arc::new(OnceCell::new_with(Some(vault))));
        }
        Ok(known)
    }

    /// Fails where a vault or a copy is to be: that the place is empty may mean that its disk is not mounted.
    pub(crate) async fn check_unclaimed(&self, url: &str) -> Result<()> {
        let vaults = self.catalog.vaults().await?;
        let copies = self.catalog.copies().await?;
        let vault =
            vaults.iter().find(|known| known.url == url).map(|known| format!("the vault {}", known.name));
        let copy = copies.iter().find(|copy| copy.url == url).map(|copy| format!("the copy {}", copy.name));
        match vault.or(copy) {
            None => Ok(()),
            Some(owner) => Err(Failure::conflict(format!("{url} is the place of {owner}"))
                .with_hint("choose another place; if it looks empty, its disk or share may not be mounted")),
        }
    }

    async fn free_name(&self, name: &str) -> Result<VaultName> {
        let name: VaultName =
            name.parse().map_err(|error| Failure::invalid(format!("the vault's name: {error}")))?;
        snapshot_store::check_name(&name)?;
        match self.catalog.vault(name.as_str()).await? {
            Some(_) => Err(Failure::conflict(format!("there is a vault {name} already"))),
            None => Ok(name),
        }
    }

    fn forget(&self, id: VaultId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<VaultId, Arc<OnceCell<Vault>>>> {
        self.handles.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Whether it may be the config alone that keeps a vault from being opened; a damaged one can pass for one of a newer release.
fn may_lack_config(failure: &Failure) -> bool {
    matches!(failure.code(), Code::Damaged | Code::Failed)
}

/// What the site keeps to open the vault unattended.
fn kept_key(vault: &Vault, write_only: bool) -> KeptKey {
    if write_only { KeptKey::Writer(vault.writer_key()) } else { vault.kept_key() }
}

fn passphrase(text: &str) -> Result<Passphrase> {
    if text.is_empty() {
        return Err(Failure::invalid("a passphrase cannot be empty"));
    }
    Ok(Passphrase::new(text))
}

/// Where a vault should open, "not found" means that there is none.
fn failure_of_open(error: vault::Error) -> Failure {
    let is_absent = error.kind() == vault::ErrorKind::NotFound;
    let failure = Failure::from(error);
    if is_absent { failure.with_code(Code::NoVault) } else { failure }
}
