//! For tests: a journal and its replica, and what they must show.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use env::{Env, Threads};
use image::{ByteRange, DiskImage};
use model::{JournalId, VmId};
use tempfile::TempDir;

use crate::{
    At, Change, Directory, DiskNumber, Folder, Generation, Journal, JournalOptions, Mark, Received, Replica,
    Sequence, Taken,
};

pub(crate) const MIB: u64 = 1 << 20;

pub(crate) fn vm() -> VmId {
    VmId::from_random([7; 10])
}

pub(crate) fn journal_id() -> JournalId {
    JournalId::from_random([9; 10])
}

/// Bytes that do not compress and follow from a number.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    env::Entropy::fill(&env::SeededEntropy::new(seed), &mut bytes);
    bytes
}

/// Two folders, what is in them, and everything that was recorded.
pub(crate) struct Pair {
    directory: TempDir,
    pub(crate) source_folder: Arc<dyn Folder>,
    pub(crate) target_folder: Arc<dyn Folder>,
    pub(crate) env: Env,
    pub(crate) journal: Journal,
    pub(crate) replica: Replica,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(options())
    }

    pub(crate) fn with(options: JournalOptions) -> Self {
        let directory = TempDir::new().unwrap();
        let folder = |name: &str| -> Arc<dyn Folder> {
            Arc::new(Directory::open(&directory.path().join(name)).unwrap())
        };
        let (source_folder, target_folder, env) = (folder("source"), folder("target"), Env::seeded(1));
        let clock = Arc::clone(&env.clock);
        let journal =
            Journal::create(Arc::clone(&source_folder), journal_id(), Generation(1), options, clock).unwrap();
        let replica = Replica::open(Arc::clone(&target_folder), Threads::Inline).unwrap();
        Self { directory, source_folder, target_folder, env, journal, replica }
    }

    /// A place for another folder.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// A disk that is whole from the start.
    pub(crate) fn disk(&self, name: &str, size_bytes: u64) -> DiskNumber {
        let disk = self.journal.add_disk(vm(), name.parse().unwrap(), size_bytes).unwrap();
        self.journal.disk_is_whole(disk).unwrap();
        disk
    }

    /// Makes everything durable here, ships it, and makes it durable there.
    pub(crate) fn ship(&self) -> Sequence {
        self.journal.flush().unwrap();
        let mut position = self.replica.wanted().unwrap();
        loop {
            let parts = self.journal.parts(position, 100_000).unwrap();
            if parts.is_empty() {
                return self.replica.sync().unwrap();
            }
            for part in &parts {
                assert_eq!(self.replica.receive(part).unwrap(), Received::Appended);
                assert_eq!(self.replica.receive(part).unwrap(), Received::Duplicate);
            }
            position = self.replica.wanted().unwrap();
        }
    }

    /// Seals the segment that grows, as if it were old.
    pub(crate) fn seal(&self) {
        for _ in 0..2000 {
            self.env.clock.now();
        }
        self.journal.flush().unwrap();
        self.ship();
    }

    pub(crate) fn reopen_replica(&mut self) {
        self.replica = Replica::open(Arc::clone(&self.target_folder), Threads::Inline).unwrap();
    }

    pub(crate) fn reopen_journal(&mut self) {
        let (folder, clock) = (Arc::clone(&self.source_folder), Arc::clone(&self.env.clock));
        self.journal = Journal::open(folder, options(), clock).unwrap();
    }

    /// What a disk shows at a moment.
    pub(crate) fn read(&self, disk: DiskNumber, at: Sequence) -> Vec<u8> {
        let moment = self.replica.moment(vm(), At::Sequence(at)).unwrap();
        let image = moment.image(disk).unwrap();
        let mut bytes = vec![0xaa; image.size_bytes() as usize];
        block_on(image.read_at(0, &mut bytes)).unwrap();
        bytes
    }
}

pub(crate) fn options() -> JournalOptions {
    JournalOptions { memory_bytes: 16 * MIB, disk_bytes: 256 * MIB, segment_age: Duration::from_secs(1) }
}

pub(crate) fn taken(taken: Taken) -> Sequence {
    match taken {
        Taken::Through(sequence) => sequence,
        Taken::Full(full) => panic!("no room: {full:?}"),
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// What disks hold after a number of records: the records applied one after another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Naive {
    pub(crate) disks: BTreeMap<DiskNumber, Vec<u8>>,
}

impl Naive {
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { disk, offset_bytes, data } => {
                let start = *offset_bytes as usize;
                self.disks.get_mut(disk).unwrap()[start..start + data.len()].copy_from_slice(data);
            }
            Change::Zero { disk, range } => {
                let ByteRange { offset_bytes, .. } = *range;
                let bytes = self.disks.get_mut(disk).unwrap();
                bytes[offset_bytes as usize..range.end_bytes() as usize].fill(0);
            }
            Change::Mark(Mark::DiskAdded { disk, size_bytes, .. }) => {
                self.disks.insert(*disk, vec![0; *size_bytes as usize]);
            }
            Change::Mark(Mark::DiskResized { disk, size_bytes }) => {
                self.disks.get_mut(disk).unwrap().resize(*size_bytes as usize, 0);
            }
            Change::Mark(Mark::DiskRemoved { disk }) => {
                self.disks.remove(disk);
            }
            Change::Mark(_) => {}
        }
    }
}
