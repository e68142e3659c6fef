//! The target's side: keeps what the source ships, and shows every moment of it.

mod changes;
mod checkpoints;
mod fold;
mod image;
mod lookup;
mod merging;
mod moment;
mod open;
mod reach;
mod receive;
mod seed;
pub(crate) mod state;
mod view;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use bytes::Bytes;
use env::Threads;
use model::{JournalId, Timestamp, VmId};

use crate::{
    Disk, DiskNumber, DiskTable, Generation, Result, SegmentNumber, Sequence,
    flaw::Flaws,
    folder::{Folder, FolderFile},
    index::PageCache,
    recent::Recent,
};
pub use changes::ReplicaChanges;
pub use checkpoints::{Grid, RestorePoint, thin};
pub use fold::{FoldPlan, Folded, Retention};
pub use image::ReplicaImage;
pub use moment::{At, Moment};
pub use receive::Received;
use receive::Receiver;
pub use seed::Seeding;
use state::State;
use view::View;

/// Blocks that are kept expanded, up to half a mebibyte each.
const BLOCKS_KEPT: usize = 64;

/// Pages of indexes that are kept, six kibibytes each.
const PAGES_KEPT: usize = 4096;

/// Files that are kept open.
const FILES_KEPT: usize = 64;

/// The replica of a journal: bases, which show its oldest moment, and the segments since.
///
/// Clones share it. All methods may be called at once from many threads; they wait for the file system.
#[derive(Clone)]
pub struct Replica {
    shared: Arc<Shared>,
}

struct Shared {
    folder: Arc<dyn Folder>,
    threads: Threads,
    receiver: Mutex<Receiver>,
    /// Held by who folds.
    folding: Mutex<()>,
    ledger: Mutex<Ledger>,
    view: RwLock<Arc<View>>,
    files: Recent<String, Arc<dyn FolderFile>>,
    blocks: Recent<(SegmentNumber, u32), Bytes>,
    pages: PageCache,
    flaws: Flaws,
}

/// The durable state, and the moments that are held until they are let go.
#[derive(Debug, Default)]
struct Ledger {
    /// None until the first segment has come.
    state: Option<State>,
    held: BTreeMap<u64, Sequence>,
    holds_given: u64,
}

impl Ledger {
    /// The oldest moment that somebody needs.
    fn oldest_pin(&self) -> Option<Sequence> {
        let pins = self.state.iter().flat_map(|state| state.pins.values());
        pins.chain(self.held.values()).copied().min()
    }
}

/// What a replica holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The journal that it is the replica of.
    pub journal: JournalId,
    /// The newest generation that it knows.
    pub generation: Generation,
    /// The oldest moment that can be shown.
    pub reaches_back_to: Sequence,
    /// The last record that is durable here.
    pub durable_through: Sequence,
    /// When that was taken in at the source.
    pub newest_time: Option<Timestamp>,
    /// Bytes of segments.
    pub segment_bytes: u64,
    /// Number of segments that are sealed.
    pub segment_count: u64,
    /// The disks now.
    pub disks: Vec<(DiskNumber, Disk)>,
    /// Moments that are kept by name.
    pub pins: BTreeMap<String, Sequence>,
}

impl Replica {
    /// What it holds; none before the first segment has come.
    #[must_use]
    pub fn status(&self) -> Option<ReplicaStatus> {
        let state = self.shared.ledger().state.clone()?;
        let view = self.shared.view();
        let disks = view.disks_at(view.durable);
        Some(ReplicaStatus {
            journal: state.journal,
            generation: state.generation,
            reaches_back_to: state.reach(),
            durable_through: view.durable,
            newest_time: view.newest_time(),
            segment_bytes: view.sealed.iter().map(|segment| segment.length_bytes).sum::<u64>()
                + view.active.as_ref().map_or(0, |active| active.end_bytes),
            segment_count: view.sealed.len() as u64,
            disks: disks.iter().map(|(number, disk)| (number, disk.clone())).collect(),
            pins: state.pins,
        })
    }

    /// The last record that is durable here.
    #[must_use]
    pub fn durable_through(&self) -> Sequence {
        self.shared.view().durable
    }

    /// The disks after a record.
    #[must_use]
    pub fn disks_at(&self, sequence: Sequence) -> DiskTable {
        DiskTable::clone(&self.shared.view().disks_at(sequence))
    }

    /// The newest moment at which all disks of a VM are whole.
    #[must_use]
    pub fn newest_whole(&self, vm: VmId) -> Option<Sequence> {
        self.shared.view().newest_whole(vm)
    }

    /// Keeps what comes after a moment from being folded until the pin of this name is removed, also after a restart. A pin
    /// of this name that is there moves.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Folded`] when it is too late, [`crate::ErrorKind::NotFound`] for what has not come yet,
    /// [`crate::ErrorKind::Invalid`] for a name of more than 255 bytes, and those of the file system.
    pub fn pin(&self, name: &str, sequence: Sequence) -> Result<()> {
        moment::pin(&self.shared, name, sequence)
    }

    /// Removes the pin of this name. Whether there was one.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn unpin(&self, name: &str) -> Result<bool> {
        moment::unpin(&self.shared, name)
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the view by one that differs so.
    fn change_view(&self, change: impl FnOnce(&mut View)) {
        let mut current = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let mut view = View::clone(&current);
        change(&mut view);
        *current = Arc::new(view);
    }

    /// An open file, kept open for a while.
    fn file(&self, name: &str) -> std::io::Result<Arc<dyn FolderFile>> {
        self.files.get_or(&name.to_owned(), || self.folder.open(name))
    }
}

/// The name of the base of a disk.
fn base_name(disk: DiskNumber) -> String {
    format!("base-{:010}", disk.0)
}

#[cfg(test)]
mod tests;
