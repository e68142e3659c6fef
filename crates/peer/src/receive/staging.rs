//! The directory of a transfer.

use std::{
    fs::{DirBuilder, File},
    io::ErrorKind as IoErrorKind,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use image::DiskImage;
use model::{SiteId, Timestamp, TransferId};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OnceCell, RwLock};

use super::disk::StagedDisk;
use crate::{Error, ErrorKind, Result, identity::file, reception::Reception, transfer::Offer};

/// How long a transfer may take, in days.
const LIFE_DAYS: u32 = 30;

/// Whose transfer it is, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) from: SiteId,
    pub(super) id: TransferId,
}

impl Key {
    fn directory(self, parent: &Path) -> PathBuf {
        parent.join(format!("{}-{}", self.from, self.id))
    }
}

/// How a transfer was begun.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TransferFile {
    pub(super) offer: Offer,
    pub(super) has_base: Vec<bool>,
    begun_at: Timestamp,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SealedFile {
    pub(super) name: String,
}

/// A transfer whose files are open.
pub(super) struct Transfer {
    pub(super) offer: Offer,
    pub(super) has_base: Vec<bool>,
    disks: Vec<StagedDisk>,
    bases: Vec<OnceCell<Arc<dyn DiskImage>>>,
    /// Held by each write, and by the work of making it the site's own: what was checked does not change.
    pub(super) writes: Arc<RwLock<()>>,
    /// That work.
    pub(super) sealing: Mutex<Option<tokio::task::JoinHandle<Result<String>>>>,
}

impl Transfer {
    pub(super) fn open(parent: &Path, key: Key) -> Result<Self> {
        let unknown = || Error::new(ErrorKind::NotFound, format!("there is no transfer {}", key.id));
        if sealed(parent, key)?.is_some() {
            return Err(Error::new(ErrorKind::Conflict, format!("the transfer {} has ended", key.id)));
        }
        let TransferFile { offer, has_base, .. } = find(parent, key)?.ok_or_else(unknown)?;
        let directory = key.directory(parent);
        let disks = offer.disks.iter().enumerate();
        let disks = disks
            .map(|(place, disk)| StagedDisk::open(&directory, place, disk.size_bytes))
            .collect::<Result<Vec<_>>>()?;
        let bases = disks.iter().map(|_| OnceCell::new()).collect();
        Ok(Self { offer, has_base, disks, bases, writes: Arc::default(), sealing: Mutex::default() })
    }

    pub(super) fn disk(&self, place: usize) -> Result<&StagedDisk> {
        self.disks
            .get(place)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("the transfer has no disk {place}")))
    }

    /// What the disk's changes are made to; none of a disk that comes whole.
    pub(super) async fn base(
        &self,
        reception: &dyn Reception,
        from: SiteId,
        place: usize,
    ) -> Result<Option<Arc<dyn DiskImage>>> {
        let name = self.offer.disks.get(place).and_then(|disk| disk.base.as_deref());
        let (Some(name), Some(true), Some(base)) = (name, self.has_base.get(place), self.bases.get(place))
        else {
            return Ok(None);
        };
        let gone = || {
            Error::new(ErrorKind::Gone, format!("the base {name} of the transfer is no longer there"))
                .with_guidance("begin the transfer anew: it is sent whole then")
        };
        let find = async { reception.base(from, name).await?.ok_or_else(gone) };
        base.get_or_try_init(|| find).await.map(|base| Some(Arc::clone(base)))
    }
}

/// Makes the directory of a transfer; there is none before `transfer.json` is in it.
pub(super) fn create(parent: &Path, key: Key, offer: Offer, has_base: &[bool], now: Timestamp) -> Result<()> {
    let directory = key.directory(parent);
    discard(&directory)?;
    DirBuilder::new()
        .mode(0o700)
        .create(&directory)
        .map_err(|error| Error::from_io(format!("creating {}", directory.display()), error))?;
    for (place, disk) in offer.disks.iter().enumerate() {
        StagedDisk::create(&directory, place, disk.size_bytes)?;
    }
    file::write(
        &directory.join("transfer.json"),
        &TransferFile { offer, has_base: has_base.to_vec(), begun_at: now },
    )?;
    sync(parent)
}

/// How a transfer was begun; none when it was not.
pub(super) fn find(parent: &Path, key: Key) -> Result<Option<TransferFile>> {
    file::read(&key.directory(parent).join("transfer.json"))
}

/// What became of a transfer; none while it is under way.
pub(super) fn sealed(parent: &Path, key: Key) -> Result<Option<SealedFile>> {
    file::read(&key.directory(parent).join("sealed.json"))
}

/// Keeps what became of a transfer, and lets the files of its disks go.
pub(super) fn seal(parent: &Path, key: Key, name: &str) -> Result<()> {
    let directory = key.directory(parent);
    file::write(&directory.join("sealed.json"), &SealedFile { name: name.to_owned() })?;
    for entry in entries(&directory)? {
        if entry.extension().is_some_and(|kind| kind == "data" || kind == "digests") {
            std::fs::remove_file(&entry)
                .map_err(|error| Error::from_io(format!("removing {}", entry.display()), error))?;
        }
    }
    Ok(())
}

pub(super) fn remove(parent: &Path, key: Key) -> Result<()> {
    discard(&key.directory(parent))
}

pub(super) fn remove_all_of(parent: &Path, from: SiteId) -> Result<()> {
    entries(parent)?.iter().filter(|entry| is_of(entry, from)).try_for_each(|entry| discard(entry))
}

/// Transfers of a peer that have not ended.
pub(super) fn count_of(parent: &Path, from: SiteId) -> Result<usize> {
    let unfinished = |entry: &&PathBuf| is_of(entry, from) && !entry.join("sealed.json").exists();
    Ok(entries(parent)?.iter().filter(unfinished).count())
}

/// Removes what was never begun, and what is too old.
pub(super) fn clean_up(parent: &Path, now: Timestamp) -> Result<()> {
    for entry in entries(parent)? {
        let keeps = match file::read::<TransferFile>(&entry.join("transfer.json")) {
            Ok(Some(transfer)) => transfer.begun_at.plus_days(LIFE_DAYS) > now,
            Ok(None) => false,
            // Perhaps a newer version's: left for it.
            Err(error) => {
                tracing::warn!(%error, "a transfer cannot be read");
                true
            }
        };
        if !keeps {
            tracing::info!(path = %entry.display(), "removed a transfer that did not end in time");
            discard(&entry)?;
        }
    }
    Ok(())
}

fn is_of(entry: &Path, from: SiteId) -> bool {
    let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix(from.as_str()).is_some_and(|rest| rest.starts_with('-'))
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::from_io(format!("reading {}", directory.display()), error);
    let entries = std::fs::read_dir(directory).map_err(failed)?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

/// Removes a transfer; first what makes it one, so that half of one is none.
fn discard(directory: &Path) -> Result<()> {
    let gone = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() != IoErrorKind::NotFound => {
            Err(Error::from_io(format!("removing {}", directory.display()), error))
        }
        _ => Ok(()),
    };
    gone(std::fs::remove_file(directory.join("transfer.json")))?;
    gone(std::fs::remove_dir_all(directory))
}

fn sync(directory: &Path) -> Result<()> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| Error::from_io(format!("syncing {}", directory.display()), error))
}
