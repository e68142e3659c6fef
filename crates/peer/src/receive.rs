//! Receiving disks: regions are kept in files until all are there, and then handed to the [`Reception`].
//!
//! Each transfer has a directory of its own, named `<sender>-<transfer>`:
//!
//! - `transfer.json`: the offer and how it was taken, written last; a directory without it is nothing, and removed.
//! - `disk-<n>.data`: what has arrived of a disk, each region where it belongs on the disk.
//! - `disk-<n>.digests`: for each region 32 bytes: its digest, or zeros as long as it has not arrived. Written only when the data
//!   is durable, so that a region that is said to be there is there after a crash.
//! - `sealed.json`: what the reception calls it. Written when the reception has taken it; then the other files go.
//!
//! A transfer ends with the reception's taking it, with the sender's abandoning it, or 30 days after it was begun.

mod disk;
mod finished;
mod seal;
mod staging;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use env::Env;
use model::{SiteId, TransferId};

use self::staging::{Key, Transfer};
use crate::{
    Error, ErrorKind, Result,
    reception::Reception,
    region::RegionChange,
    transfer::{Begun, METADATA_MAX_BYTES, Missing, Offer, region_range},
};

/// Transfers of one peer that may be under way.
const TRANSFERS_OF_PEER_MAX: usize = 16;

/// What peers leave free on the file system: the site's own bookkeeping lives there.
const SPACE_RESERVE_BYTES: u64 = 1 << 30;

/// Receives what peers send. Clones share what they know.
#[derive(Clone)]
pub struct Receiver {
    shared: Arc<Shared>,
}

struct Shared {
    directory: PathBuf,
    reception: Arc<dyn Reception>,
    env: Env,
    open: Mutex<BTreeMap<Key, Arc<Transfer>>>,
    /// Held while a transfer begins or ends.
    admission: tokio::sync::Mutex<()>,
}

impl Receiver {
    /// A receiver that keeps what is on its way in this directory, which exists and is its own.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn open(directory: PathBuf, reception: Arc<dyn Reception>, env: Env) -> Result<Self> {
        staging::clean_up(&directory, env.clock.now())?;
        let shared = Shared {
            directory,
            reception,
            env,
            open: Mutex::default(),
            admission: tokio::sync::Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Begins to receive what a peer offers, or goes on with it.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when this transfer was begun with another offer, or when the peer has too many under way;
    /// those of [`Reception::accepts`].
    pub async fn begin(&self, from: SiteId, id: TransferId, offer: Offer) -> Result<Begun> {
        offer.check()?;
        if serde_json::to_vec(&offer.metadata).map_or(usize::MAX, |json| json.len()) > METADATA_MAX_BYTES {
            return Err(Error::invalid("the offer's metadata is too long"));
        }
        let shared = &self.shared;
        let _admission = shared.admission.lock().await;
        staging::clean_up(&shared.directory, shared.env.clock.now())?;
        let key = Key { from, id };
        if let Some(known) = staging::find(&shared.directory, key)? {
            if known.offer != offer {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("the transfer {id} was begun with another offer"),
                ));
            }
            let is_sealed = staging::sealed(&shared.directory, key)?.is_some();
            return Ok(Begun { has_base: known.has_base, is_sealed });
        }
        shared.reception.accepts(from, &offer).await?;
        if staging::count_of(&shared.directory, from)? >= TRANSFERS_OF_PEER_MAX {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("{TRANSFERS_OF_PEER_MAX} transfers are under way"),
            )
            .with_guidance("let them end, or abandon them"));
        }
        let mut has_base = Vec::with_capacity(offer.disks.len());
        for disk in &offer.disks {
            let base = match &disk.base {
                Some(base) => shared.reception.base(from, base).await?,
                None => None,
            };
            has_base.push(base.is_some_and(|base| base.size_bytes() <= disk.size_bytes));
        }
        staging::create(&shared.directory, key, offer, &has_base, shared.env.clock.now())?;
        tracing::info!(peer = %from, transfer = %id, "a peer begins to send disks");
        Ok(Begun { has_base, is_sealed: false })
    }

    /// Which regions of a disk have not arrived, from this one on. What has is durable.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such transfer or disk.
    pub async fn missing(&self, from: SiteId, id: TransferId, disk: usize, first: u64) -> Result<Missing> {
        let transfer = self.transfer(Key { from, id })?;
        self.blocking(move || {
            let disk = transfer.disk(disk)?;
            disk.sync()?;
            Ok(disk.missing(first))
        })
        .await
    }

    /// Takes a region. It is durable once [`Self::missing`] does not tell it any more.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when the region does not become what the sender says; [`ErrorKind::Gone`] when its base is no
    /// longer there; [`ErrorKind::NoSpace`].
    pub async fn put(
        &self,
        from: SiteId,
        id: TransferId,
        disk: usize,
        region: u64,
        body: Bytes,
    ) -> Result<()> {
        let transfer = self.transfer(Key { from, id })?;
        let staged = transfer.disk(disk)?;
        let range = region_range(staged.size_bytes(), region)
            .ok_or_else(|| Error::invalid(format!("the disk has no region {region}")))?;
        self.check_space()?;
        let busy = |_| Error::new(ErrorKind::Busy, "the transfer is being sealed");
        let write = Arc::clone(&transfer.writes).try_read_owned().map_err(busy)?;
        let mut content = vec![0; range.length_bytes as usize];
        if let Some(base) = transfer.base(&*self.shared.reception, from, disk).await? {
            let known = base.size_bytes().saturating_sub(range.offset_bytes).min(range.length_bytes) as usize;
            if known > 0 {
                base.read_at(range.offset_bytes, &mut content[..known]).await?;
            }
        }
        self.blocking(move || {
            let _write = write; // also when the caller goes away
            let change = RegionChange::decode(&body)?;
            change.apply(&mut content)?;
            transfer.disk(disk)?.write(region, &content, change.digest())
        })
        .await
    }

    /// Gives a transfer up, and what has arrived of it. One that is not there, or was sealed, is left as it is.
    ///
    /// # Errors
    /// When its files cannot be removed.
    pub async fn abandon(&self, from: SiteId, id: TransferId) -> Result<()> {
        let _admission = self.shared.admission.lock().await;
        let key = Key { from, id };
        if staging::sealed(&self.shared.directory, key)?.is_some() {
            return Ok(());
        }
        self.opened().remove(&key);
        staging::remove(&self.shared.directory, key)
    }

    /// Gives up all that is on its way from a site that is a peer no more.
    ///
    /// # Errors
    /// When files cannot be removed.
    pub async fn forget(&self, from: SiteId) -> Result<()> {
        let _admission = self.shared.admission.lock().await;
        self.opened().retain(|key, _| key.from != from);
        staging::remove_all_of(&self.shared.directory, from)
    }

    fn transfer(&self, key: Key) -> Result<Arc<Transfer>> {
        let mut open = self.opened();
        if let Some(transfer) = open.get(&key) {
            return Ok(Arc::clone(transfer));
        }
        let transfer = Arc::new(Transfer::open(&self.shared.directory, key)?);
        open.insert(key, Arc::clone(&transfer));
        Ok(transfer)
    }

    fn opened(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Transfer>>> {
        self.shared.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_space(&self) -> Result<()> {
        let directory = &self.shared.directory;
        let found = rustix::fs::statvfs(directory)
            .map_err(|error| Error::from_io(format!("looking at {}", directory.display()), error.into()))?;
        if found.f_bavail.saturating_mul(found.f_frsize) < SPACE_RESERVE_BYTES {
            return Err(Error::new(
                ErrorKind::NoSpace,
                "the receiving site has no space left for what peers send",
            )
            .with_guidance("free space on the file system of its data directory"));
        }
        Ok(())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let done = self.shared.env.threads.run(work).await;
        done.map_err(|error| Error::new(ErrorKind::Failed, "the work was broken off").with_source(error))?
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Receiver").field("directory", &self.shared.directory).finish_non_exhaustive()
    }
}
