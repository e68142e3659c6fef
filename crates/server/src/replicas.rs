//! The replicas of this site: journals of other sites' VMs, each in a folder of its own.
//!
//! A replica is taken up when the server starts. One whose folder is damaged or missing stays known, says why, and harms nothing
//! else. What the catalog knows of it is durable before anything is done, and the folder is made before the catalog knows of it.

mod change;
mod compare;
mod definition;
mod find;
pub(crate) mod groups;
mod receive;
mod replaced;
mod seeds;
mod settings;
mod target;
mod upkeep;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use catalog::{Catalog, KnownReplica};
use env::Threads;
use image::DiskImage;
use journal::{At, Directory, Folder, Generation, Moment, Replica, SegmentNumber, Sequence};
use model::{DiskName, JournalId, Timestamp, VmId};
use recovery::Stage;

pub(crate) use self::{
    change::{note_moment, put_in, remove, retain},
    compare::compare,
    definition::now as definition_now,
    find::{FoundMoment, find, moment_of, resolve},
    receive::{end, of_peer, offer, progress, take},
    replaced::{replaced_by, would_replace},
    seeds::{old_self, prepare},
    settings::{connect_as_planned, connection, edit},
    target::{Purpose, Target, directory_in},
    upkeep::watch,
    view::{list, moment_view, points, test_view, view},
};
use crate::{
    failure::{Failure, Result},
    turns::Turns,
};

/// How the folder of a replica that goes is called, until it is gone.
const DELETED: &str = ".deleted";

/// All replicas of the site.
pub(crate) struct Replicas {
    directory: PathBuf,
    threads: Threads,
    kept: Mutex<BTreeMap<JournalId, Arc<Kept>>>,
    /// Which are being folded.
    turns: Arc<Turns<JournalId>>,
}

/// A replica that is taken up.
pub(crate) struct Kept {
    /// Or why it cannot be used.
    replica: std::result::Result<Replica, String>,
    /// Held while parts are taken, and while its standing changes.
    gate: tokio::sync::Mutex<()>,
    /// What its bases took when it was looked at last.
    bases_bytes: AtomicU64,
    /// The time that was found for a record, and that record.
    reach: Mutex<Option<(Sequence, Timestamp)>>,
    /// While its bases are made from a seed: bytes that were copied, and all of them.
    seeded_bytes: AtomicU64,
    to_seed_bytes: AtomicU64,
}

impl Kept {
    fn new(replica: std::result::Result<Replica, String>) -> Arc<Self> {
        Arc::new(Self {
            replica,
            gate: tokio::sync::Mutex::default(),
            bases_bytes: AtomicU64::new(0),
            reach: Mutex::default(),
            seeded_bytes: AtomicU64::new(0),
            to_seed_bytes: AtomicU64::new(0),
        })
    }

    /// What is in its folder.
    pub(crate) fn replica(&self) -> Result<&Replica> {
        self.replica.as_ref().map_err(|why| {
            Failure::new(api::Code::Damaged, format!("the replica cannot be used: {why}"))
                .with_hint("delete it with holdfast replica delete, and let the source begin anew")
        })
    }

    /// The oldest time that can be gone back to. Reads a file where the record has changed since it was asked for last.
    fn reaches_back_to(&self, vm: VmId) -> Option<Timestamp> {
        let replica = self.replica.as_ref().ok()?;
        let oldest = replica.oldest_whole(vm)?;
        let mut known = self.reach.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, time)) = known.filter(|(sequence, _)| *sequence == oldest) {
            return Some(time);
        }
        let time = replica.time_of(oldest).ok()?;
        *known = Some((oldest, time));
        Some(time)
    }

    fn size_bytes(&self) -> u64 {
        let segments = self.replica.as_ref().ok().and_then(Replica::status);
        segments.map_or(0, |status| status.segment_bytes) + self.bases_bytes.load(Ordering::Relaxed)
    }
}

impl Replicas {
    /// Takes all replicas up.
    pub(crate) async fn open(directory: PathBuf, catalog: &Catalog, threads: Threads) -> Result<Self> {
        let replicas = Self { directory, threads, kept: Mutex::default(), turns: Arc::default() };
        let failed = |error: std::io::Error| Failure::from_io("the replicas' directory", &error);
        let gone = deleted(&replicas.directory).map_err(failed)?;
        for known in catalog.replicas().await? {
            let folder = replicas.folder(known.journal_id);
            // Whoever deleted it died before it was forgotten.
            if gone.contains(&deleted_folder(&folder)) && !folder.exists() {
                catalog.remove_replica_settings(known.journal_id).await?;
                catalog.remove_replica_points(known.journal_id, None).await?;
                catalog.remove_replica(known.journal_id).await?;
                continue;
            }
            let taken = threads.run(move || (take_up(&folder, &known), known)).await;
            let taken =
                taken.map_err(|_| Failure::new(api::Code::Failed, "taking a replica up was cut off"))?;
            let (replica, known) = taken;
            let replica = replica.map_err(|failure| {
                let reason = failure.detail().to_owned();
                if !matches!(known.standing.stage, Stage::Committed { .. }) {
                    tracing::error!(vm = %known.vm_name, journal = %known.journal_id, reason, "a replica cannot be used");
                }
                reason
            });
            replicas.admit(known.journal_id, Kept::new(replica));
        }
        for folder in gone {
            std::fs::remove_dir_all(folder).map_err(failed)?;
        }
        Ok(replicas)
    }

    fn folder(&self, journal: JournalId) -> PathBuf {
        self.directory.join(journal.as_str())
    }

    /// What is in a replica's folder.
    pub(crate) fn get(&self, journal: JournalId) -> Result<Arc<Kept>> {
        self.lock().get(&journal).cloned().ok_or_else(|| not_known(journal.as_str()))
    }

    /// Makes the folder of a replica that is new, durably. Nobody finds it before [`Replicas::admit`].
    async fn begin(&self, known: &KnownReplica) -> Result<Arc<Kept>> {
        let (folder, known) = (self.folder(known.journal_id), known.clone());
        self.work(move || {
            // That of an offer of which nothing came may be there.
            Directory::open(&folder).map_err(|error| Failure::from_io("creating a replica", &error))?;
            take_up(&folder, &known).map(|replica| Kept::new(Ok(replica)))
        })
        .await
    }

    fn admit(&self, journal: JournalId, kept: Arc<Kept>) {
        self.lock().insert(journal, kept);
    }

    fn forget(&self, journal: JournalId) {
        self.lock().remove(&journal);
    }

    /// Takes a replica's folder out of sight. [`Replicas::discard`] gives its room back.
    fn put_away(&self, journal: JournalId) -> Result<PathBuf> {
        let folder = self.folder(journal);
        let away = deleted_folder(&folder);
        match std::fs::rename(&folder, &away) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::from_io("removing a replica", &error))
            }
            _ => Ok(away),
        }
    }

    async fn discard(&self, away: PathBuf) -> Result<()> {
        self.work(move || match std::fs::remove_dir_all(&away) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::from_io("removing a replica", &error))
            }
            _ => Ok(()),
        })
        .await
    }

    /// Does what waits for the file system.
    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let done = self.threads.run(work).await;
        done.unwrap_or_else(|error| {
            Err(Failure::new(api::Code::Failed, format!("work on a replica was cut off: {error}")))
        })
    }

    /// Holds a moment of a replica.
    pub(crate) async fn moment(&self, journal: JournalId, vm: VmId, at: At) -> Result<Moment> {
        let kept = self.get(journal)?;
        self.work(move || Ok(kept.replica()?.moment(vm, at)?)).await
    }

    /// A disk at a moment, which is held as long as the image is open.
    pub(crate) async fn image(
        &self,
        journal: JournalId,
        vm: VmId,
        sequence: u64,
        disk: &DiskName,
    ) -> Result<Arc<dyn DiskImage>> {
        let moment = self.moment(journal, vm, At::Sequence(Sequence(sequence))).await?;
        image_of(&moment, disk)
    }

    /// From now on nothing of an older generation is taken.
    pub(crate) async fn raise_generation(&self, journal: JournalId, generation: u64) -> Result<()> {
        let kept = self.get(journal)?;
        self.work(move || Ok(kept.replica()?.raise_generation(Generation(generation))?)).await
    }

    /// Keeps a moment from being folded until the pin is removed, also after a restart.
    pub(crate) fn pin(&self, journal: JournalId, name: &str, sequence: u64) -> Result<()> {
        Ok(self.get(journal)?.replica()?.pin(name, Sequence(sequence))?)
    }

    /// Removes a pin, whatever replica has it.
    pub(crate) fn unpin(&self, name: &str) {
        self.unpin_where(|pin| pin == name);
    }

    /// Removes all pins but these and those of groups.
    pub(crate) fn keep_pins(&self, names: &BTreeSet<String>) {
        self.unpin_where(|pin| !names.contains(pin) && !pin.starts_with(groups::PIN));
    }

    fn unpin_where(&self, goes: impl Fn(&str) -> bool) {
        let all: Vec<_> = self.lock().values().cloned().collect();
        for replica in all.iter().filter_map(|kept| kept.replica.as_ref().ok()) {
            let pins = replica.status().map(|status| status.pins).unwrap_or_default();
            for name in pins.keys().filter(|name| goes(name)) {
                if let Err(error) = replica.unpin(name) {
                    // It keeps more than it has to, until the server starts again.
                    tracing::warn!(%error, name, "a pin could not be removed");
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<JournalId, Arc<Kept>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The disk of a moment.
pub(crate) fn image_of(moment: &Moment, disk: &DiskName) -> Result<Arc<dyn DiskImage>> {
    let number = moment.disks().find(|(_, known)| known.name == *disk).map(|(number, _)| number);
    let number = number.ok_or_else(|| {
        let names: Vec<_> = moment.disks().map(|(_, known)| known.name.as_str()).collect();
        Failure::not_found(format!("the VM had no disk {disk} then; it had {}", names.join(", ")))
    })?;
    Ok(Arc::new(moment.image(number)?))
}

fn not_known(name: &str) -> Failure {
    Failure::not_found(format!("there is no replica of {name} here"))
        .with_hint("see them with: holdfast replica list")
}

/// Takes up what is in a folder, which must be there.
fn take_up(folder: &Path, known: &KnownReplica) -> Result<Replica> {
    if !folder.is_dir() {
        return Err(Failure::new(api::Code::Damaged, format!("{} is missing", folder.display())));
    }
    let failed = |error: std::io::Error| Failure::from_io(format!("opening {}", folder.display()), &error);
    let directory: Arc<dyn Folder> = Arc::new(Directory::open(folder).map_err(failed)?);
    let replica = Replica::open(directory, Threads::Pool)?;
    match replica.status() {
        None => replica.begin_at(SegmentNumber(known.first_segment))?,
        Some(status) if status.journal != known.journal_id => {
            let detail = format!("{} holds the journal {}", folder.display(), status.journal);
            return Err(Failure::new(api::Code::Damaged, detail));
        }
        Some(_) => {}
    }
    Ok(replica)
}

fn deleted_folder(folder: &Path) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(DELETED);
    name.into()
}

/// The folders that a dead server was about to remove.
fn deleted(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let paths = directory.read_dir()?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    Ok(paths
        .into_iter()
        .filter(|path| path.as_os_str().as_encoded_bytes().ends_with(DELETED.as_bytes()))
        .collect())
}
