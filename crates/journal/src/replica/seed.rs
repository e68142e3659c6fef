//! Seeds: what a disk holds before its first record, where that is not zeros.
//!
//! A disk that was just added is zeros until its records say otherwise. Where this side has something that is like the disk, its
//! base can begin with that instead. The source then compares its disk with what the replica shows
//! ([`Replica::image_to_compare`]) and enters only what differs.
//!
//! A seed comes before any fold has reached the disk, and before any moment at which the disk is whole. Its order: the bytes
//! are durable under another name, the base has its name durably, the state says that it is a seed. What a dead process left
//! of the first two is removed when the replica is opened.

use std::{
    fmt,
    fs::File,
    sync::{Arc, PoisonError},
};

use super::{Replica, ReplicaImage, Shared, base_name, moment::Held, state::State};
use crate::{
    DiskNumber, Error, ErrorKind, Result, Sequence,
    folder::{FolderFile, unfinished},
};

/// A base that is being made. Dropped, it is given up.
pub struct Seeding {
    shared: Arc<Shared>,
    disk: DiskNumber,
    size_bytes: u64,
    file: Arc<dyn FolderFile>,
}

impl Replica {
    /// Whether a disk's base may still be made from a seed.
    #[must_use]
    pub fn takes_seed(&self, disk: DiskNumber) -> bool {
        let state = self.shared.ledger().state.clone();
        state.is_some_and(|state| check(&self.shared, &state, disk).is_ok())
    }

    /// Whether a disk's base is a seed that no fold has reached yet.
    #[must_use]
    pub fn is_seeded(&self, disk: DiskNumber) -> bool {
        self.shared.ledger().state.as_ref().is_some_and(|state| state.seeds.contains(&disk))
    }

    /// Begins to make the base of a disk; it is zeros until something is written. One at a time for each disk.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown disk, [`ErrorKind::Invalid`] where it is too late: a fold has reached the disk, it
    /// is seeded, or it was whole; and those of the file system.
    pub fn begin_seed(&self, disk: DiskNumber) -> Result<Seeding> {
        let state = self.shared.ledger().state.clone();
        let state = state.ok_or_else(|| Error::new(ErrorKind::NotFound, "the replica is empty"))?;
        let size_bytes = check(&self.shared, &state, disk)?;
        let name = unfinished(&base_name(disk));
        let failed = |error| Error::from_io(format!("creating {name}"), error);
        let file = self.shared.folder.create(&name).map_err(failed)?;
        file.set_length(size_bytes).map_err(failed)?;
        Ok(Seeding { shared: Arc::clone(&self.shared), disk, size_bytes, file })
    }

    /// A disk as its records have it at the end of what is durable here, whole or not: to be compared with, and never to be shown. Its
    /// records come at least as far as is asked for.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown disk, and before that record has come.
    pub fn image_to_compare(&self, disk: DiskNumber, at_least: Sequence) -> Result<ReplicaImage> {
        let view = self.shared.view();
        if view.durable < at_least {
            let context = format!("record {at_least} has not come: there are {} records", view.durable);
            return Err(Error::new(ErrorKind::NotFound, context));
        }
        let held = Held::take(&self.shared, view.durable)?;
        let disks = view.disks_at(view.durable);
        let known = disks.get(disk);
        let known =
            known.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no disk {disk}")))?;
        Ok(ReplicaImage::new(Arc::new(held), disk, known.size_bytes))
    }
}

/// The size with which a disk was added, if its base may be made from a seed.
fn check(shared: &Shared, state: &State, disk: DiskNumber) -> Result<u64> {
    let view = shared.view();
    let tables = || view.tables.iter().filter_map(|(_, table)| table.get(disk));
    let first = tables().next();
    let first = first.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no disk {disk}")))?;
    let reached = state.folding.is_some() || state.has_base(disk);
    if reached || tables().any(|known| known.is_whole) {
        return Err(Error::invalid(format!("it is too late to seed disk {disk}")));
    }
    Ok(first.size_bytes)
}

impl Seeding {
    /// The size of the base.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Makes all of it what a file holds, by sharing its blocks, where the file system can. Whether it did.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn clone_of(&self, file: &File) -> Result<bool> {
        let done = self.file.clone_of(file).and_then(|done| {
            self.file.set_length(self.size_bytes)?;
            Ok(done)
        });
        done.map_err(|error| self.failed(error))
    }

    /// Writes a part of it, within its size.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] beyond its end, and those of the file system.
    pub fn write_at(&self, offset_bytes: u64, data: &[u8]) -> Result<()> {
        if offset_bytes.checked_add(data.len() as u64).is_none_or(|end| end > self.size_bytes) {
            return Err(Error::invalid(format!("a seed of disk {} goes on after its end", self.disk)));
        }
        self.file.write_at(offset_bytes, data).map_err(|error| self.failed(error))
    }

    /// Makes it the base of the disk, durably.
    ///
    /// # Errors
    /// As [`Replica::begin_seed`]; the disk then has no seed.
    pub fn finish(self) -> Result<()> {
        self.file.sync().map_err(|error| self.failed(error))?;
        // No fold meanwhile, and no record that makes the disk whole.
        let _one = self.shared.folding.lock().unwrap_or_else(PoisonError::into_inner);
        let _receiver = self.shared.receiver();
        let mut ledger = self.shared.ledger();
        let known = ledger.state.clone();
        let mut state = known.ok_or_else(|| Error::new(ErrorKind::NotFound, "the replica is empty"))?;
        check(&self.shared, &state, self.disk)?;
        let (name, folder) = (base_name(self.disk), &*self.shared.folder);
        let placed = folder.rename(&unfinished(&name), &name).and_then(|()| folder.sync());
        state.seeds.insert(self.disk);
        let kept = placed.map_err(|error| self.failed(error)).and_then(|()| state.save(folder));
        if let Err(error) = kept {
            // Nobody may see it who would not see it after a restart.
            return match folder.remove(&name) {
                Err(left) if left.kind() != std::io::ErrorKind::NotFound => Err(self.failed(left)),
                _ => Err(error),
            };
        }
        self.shared.files.clear();
        ledger.state = Some(state);
        Ok(())
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::from_io(format!("writing the seed of disk {}", self.disk), error)
    }
}

impl Drop for Seeding {
    fn drop(&mut self) {
        // One that is finished has another name; what cannot be removed goes when the replica is opened again.
        let _ = self.shared.folder.remove(&unfinished(&base_name(self.disk)));
    }
}

impl fmt::Debug for Seeding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Seeding").field("disk", &self.disk).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
