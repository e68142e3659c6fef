//! What has arrived of a disk.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    Digest, Error, Result,
    bitmap::Bitmap,
    transfer::{Missing, RUNS_MAX, region_count, region_range},
};

/// Regions that may be waiting to be made durable.
const PENDING_MAX: usize = 16;

/// Digests are read in pieces of so many.
const DIGESTS_AT_ONCE: usize = 32 << 10;

/// The files of a disk on its way, and which of its regions are there.
pub(super) struct StagedDisk {
    size_bytes: u64,
    path: PathBuf,
    data: File,
    digests: File,
    state: Mutex<State>,
}

struct State {
    /// Those that are durable, with their digest in the file.
    arrived: Bitmap,
    /// Those that were written since.
    pending: Vec<(u64, Digest)>,
}

impl StagedDisk {
    /// Makes the files of a disk of which nothing has arrived.
    pub(super) fn create(directory: &Path, place: usize, size_bytes: u64) -> Result<()> {
        for (kind, length_bytes) in [("data", size_bytes), ("digests", region_count(size_bytes) * 32)] {
            let path = path(directory, place, kind);
            let options = OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
            let made = options
                .open(&path)
                .and_then(|file| file.set_len(length_bytes).and_then(|()| file.sync_all()));
            made.map_err(|error| Error::from_io(format!("creating {}", path.display()), error))?;
        }
        Ok(())
    }

    pub(super) fn open(directory: &Path, place: usize, size_bytes: u64) -> Result<Self> {
        let open = |kind| {
            let path = path(directory, place, kind);
            let file = OpenOptions::new().read(true).write(true).open(&path);
            file.map_err(|error| Error::from_io(format!("opening {}", path.display()), error))
        };
        let (data, digests) = (open("data")?, open("digests")?);
        let path = path(directory, place, "data");
        let mut arrived = Bitmap::new(region_count(size_bytes));
        let mut piece = vec![[0; 32]; DIGESTS_AT_ONCE];
        for first in (0..arrived.len()).step_by(DIGESTS_AT_ONCE) {
            let count = (arrived.len() - first).min(DIGESTS_AT_ONCE as u64) as usize;
            digests.read_exact_at(piece[..count].as_flattened_mut(), first * 32).map_err(|error| {
                Error::from_io(format!("reading what has arrived of {}", path.display()), error)
            })?;
            for (number, _) in piece[..count].iter().enumerate().filter(|(_, digest)| **digest != [0; 32]) {
                arrived.set(first + number as u64, true);
            }
        }
        Ok(Self {
            size_bytes,
            path,
            data,
            digests,
            state: Mutex::new(State { arrived, pending: Vec::new() }),
        })
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Writes a region. Durable with the next [`Self::sync`].
    pub(super) fn write(&self, region: u64, content: &[u8], digest: Digest) -> Result<()> {
        let range = self.range(region)?;
        self.data.write_all_at(content, range.offset_bytes).map_err(|error| self.failed("writing", error))?;
        let mut state = self.state();
        state.pending.push((region, digest));
        if state.pending.len() >= PENDING_MAX { self.make_durable(&mut state) } else { Ok(()) }
    }

    /// Makes all that has arrived durable.
    pub(super) fn sync(&self) -> Result<()> {
        self.make_durable(&mut self.state())
    }

    /// First the data, then the word that it is there.
    fn make_durable(&self, state: &mut State) -> Result<()> {
        if state.pending.is_empty() {
            return Ok(());
        }
        self.data.sync_data().map_err(|error| self.failed("syncing", error))?;
        for (region, digest) in &state.pending {
            self.digests
                .write_all_at(&digest.0, region * 32)
                .map_err(|error| self.failed("writing", error))?;
        }
        self.digests.sync_data().map_err(|error| self.failed("syncing", error))?;
        for (region, _) in std::mem::take(&mut state.pending) {
            state.arrived.set(region, true);
        }
        Ok(())
    }

    /// Which regions have not arrived durably, from this one on.
    pub(super) fn missing(&self, first: u64) -> Missing {
        let state = self.state();
        let (mut runs, mut from) = (Vec::new(), first);
        while let Some(start) = state.arrived.next(from, false) {
            if runs.len() == RUNS_MAX {
                return Missing { runs, next: Some(start) };
            }
            let end = state.arrived.next(start, true).unwrap_or(state.arrived.len());
            runs.push((start, end - start));
            from = end;
        }
        Missing { runs, next: None }
    }

    /// The first region from this one on that has arrived durably.
    pub(super) fn next_arrived(&self, from: u64) -> Option<u64> {
        self.state().arrived.next(from, true)
    }

    pub(super) fn has(&self, region: u64) -> bool {
        self.state().arrived.has(region)
    }

    /// Reads part of a region that has arrived.
    pub(super) fn read(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<()> {
        self.data.read_exact_at(buffer, offset_bytes).map_err(|error| self.failed("reading", error))
    }

    /// Reads a whole region, and checks it against the digest with which it has arrived; none where it is not that any more.
    pub(super) fn verify(&self, region: u64) -> Result<Option<Digest>> {
        let range = self.range(region)?;
        let mut content = vec![0; range.length_bytes as usize];
        self.read(range.offset_bytes, &mut content)?;
        let mut digest = [0; 32];
        self.digests
            .read_exact_at(&mut digest, region * 32)
            .map_err(|error| self.failed("reading", error))?;
        let digest = Digest(digest);
        Ok((Digest::of(&content) == digest).then_some(digest))
    }

    /// Makes a region one that has not arrived.
    pub(super) fn forget(&self, region: u64) -> Result<()> {
        let mut state = self.state();
        self.digests
            .write_all_at(&[0; 32], region * 32)
            .and_then(|()| self.digests.sync_data())
            .map_err(|error| self.failed("writing", error))?;
        state.arrived.set(region, false);
        Ok(())
    }

    fn range(&self, region: u64) -> Result<image::ByteRange> {
        region_range(self.size_bytes, region)
            .ok_or_else(|| Error::invalid(format!("the disk has no region {region}")))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, what: &str, error: std::io::Error) -> Error {
        Error::from_io(format!("{what} {}", self.path.display()), error)
    }
}

fn path(directory: &Path, place: usize, kind: &str) -> PathBuf {
    directory.join(format!("disk-{place}.{kind}"))
}
