//! Images that disks read from until they are whole: shown to QEMU over NBD, on one socket of the site.

mod patient;
mod read_ahead;
mod source;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use catalog::{Catalog, DependentDisk, ImageSource};
use model::DiskName;
use nbd::{Endpoint, Exports, Server};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use self::patient::ReadFailure;
use self::{patient::PatientImage, source::Source};
use crate::{
    dependents::Owner, directory::check_socket_path, failure::Result, replicas::Replicas, snapshots::Held,
    vaults::Vaults,
};

/// Where images are opened.
#[derive(Clone)]
pub(crate) struct Images {
    pub(crate) catalog: Catalog,
    pub(crate) vaults: Arc<Vaults>,
    pub(crate) held: Arc<Held>,
    pub(crate) replicas: Arc<Replicas>,
}

/// The images that the site's disks read from now.
pub(crate) struct Backings {
    open: Images,
    socket: PathBuf,
    exports: Exports,
    images: Mutex<BTreeMap<String, Arc<PatientImage>>>,
    changes: watch::Sender<()>,
}

/// The name under which a disk finds its image; `owner_id` is that of its VM, or its own.
pub(crate) fn export_name(owner_id: &str, disk: &DiskName) -> String {
    format!("{owner_id}/{disk}")
}

impl Backings {
    /// Begins to serve, until the server stops. QEMUs that wait for their images since the last server died find them
    /// once they are offered.
    pub(crate) async fn serve(socket: PathBuf, open: Images, stopping: CancellationToken) -> Result<Self> {
        check_socket_path(&socket)?;
        let exports = Exports::new();
        let backings = Self {
            open,
            socket,
            exports: exports.clone(),
            images: Mutex::default(),
            changes: watch::Sender::new(()),
        };
        for owner in Owner::all(&backings.open.catalog).await? {
            backings.offer(owner.id(), owner.dependents());
        }
        let needed = backings.images().keys().cloned().collect();
        backings.open.replicas.keep_pins(&needed);
        let server = Server::bind(&Endpoint::Unix(backings.socket.clone()), exports).await?;
        tokio::spawn(async move { stopping.run_until_cancelled(server.run()).await });
        Ok(backings)
    }

    /// Where QEMU connects.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Keeps the moments of replicas that somebody's disks are to read from. Call it before anybody knows of the disks.
    ///
    /// # Errors
    /// Where a moment is gone by now, or the file system fails.
    pub(crate) fn pin(&self, owner_id: &str, disks: &[DependentDisk]) -> Result<()> {
        for dependent in disks {
            if let ImageSource::Replica { journal_id, sequence, .. } = &dependent.source {
                self.open.replicas.pin(*journal_id, &export_name(owner_id, &dependent.disk), *sequence)?;
            }
        }
        Ok(())
    }

    /// Shows somebody's disks the images that they read from. They are opened when they are first read.
    pub(crate) fn offer(&self, owner_id: &str, disks: &[DependentDisk]) {
        for dependent in disks {
            let name = export_name(owner_id, &dependent.disk);
            let source = Source::new(self.open.clone(), dependent.source.clone(), dependent.size_bytes);
            let wait_limit = Duration::from_secs(dependent.wait_limit_seconds);
            let image = Arc::new(PatientImage::new(source, dependent.size_bytes, wait_limit));
            self.exports.add(name.clone(), Arc::clone(&image) as _);
            self.images().insert(name, image);
        }
    }

    /// Takes the image of a disk back, which needs it no more.
    pub(crate) fn withdraw(&self, owner_id: &str, disk: &DiskName) {
        let name = export_name(owner_id, disk);
        self.exports.remove(&name);
        self.images().remove(&name);
        self.open.replicas.unpin(&name);
    }

    /// Takes all images of somebody's disks back.
    pub(crate) fn withdraw_all(&self, owner_id: &str, disks: &[DependentDisk]) {
        disks.iter().for_each(|dependent| self.withdraw(owner_id, &dependent.disk));
    }

    /// Tells all hydrations that what is wanted of them, or where they go on, may have changed.
    pub(crate) fn tell_of_change(&self) {
        self.changes.send_replace(());
    }

    /// All changes from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Forgets what damage somebody's disks have met, which may have been healed.
    pub(crate) fn forget_failures(&self, owner_id: &str, disks: &[DependentDisk]) {
        let images = self.images();
        let names = disks.iter().map(|dependent| export_name(owner_id, &dependent.disk));
        names.filter_map(|name| images.get(&name)).for_each(|image| image.forget_failure());
    }

    /// Why a disk's image cannot be read now, or what damage was met in it.
    pub(crate) fn failure(&self, owner_id: &str, disk: &DiskName) -> Option<ReadFailure> {
        self.images().get(&export_name(owner_id, disk))?.failure()
    }

    fn images(&self) -> MutexGuard<'_, BTreeMap<String, Arc<PatientImage>>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
