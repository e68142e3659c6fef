//! The process that holds a journal, as `tap` is: it outlives servers, and dies when it likes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use env::Clock;
use journal::{
    Checkpoint, CheckpointKind, DiskNumber, ErrorKind, Flaw, Folder, Generation, Journal, JournalOptions,
    Sequence, Taken,
};
use model::{JournalId, Timestamp, VmId};

use super::guest::{DISK_NAMES, Disks, History, SECTOR_BYTES, SECTORS};

/// What a tap may be asked to do in vain.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// The process of one journal.
pub(crate) struct Tap {
    /// No two processes have the same.
    pub(crate) life: u64,
    pub(crate) journal: Journal,
    vm: VmId,
    /// Since when it knows of no write that passed it by.
    pub(crate) epoch: Sequence,
    /// It takes nothing before an epoch is begun.
    pub(crate) is_shut: bool,
    /// What the disks held at the moment that the epoch is of.
    moment: Option<Arc<Disks>>,
}

pub(crate) struct Launch {
    pub(crate) folder: Arc<dyn Folder>,
    pub(crate) id: JournalId,
    pub(crate) generation: u64,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) flaw: Option<Flaw>,
    pub(crate) disk_bytes: u64,
}

impl Tap {
    /// Takes the journal up, or begins it; damage is a mistake of ours, and an error of its own.
    pub(crate) fn launch(life: u64, vm: VmId, launch: Launch) -> journal::Result<Self> {
        let Launch { folder, id, generation, clock, flaw, disk_bytes } = launch;
        let options =
            JournalOptions { memory_bytes: 120_000, disk_bytes, segment_age: Duration::from_secs(2) };
        let open = || match flaw {
            Some(flaw) => Journal::open_with_flaw(Arc::clone(&folder), options, Arc::clone(&clock), flaw),
            None => Journal::open(Arc::clone(&folder), options, Arc::clone(&clock)),
        };
        let journal = match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let (folder, clock) = (Arc::clone(&folder), Arc::clone(&clock));
                Journal::create(folder, id, Generation(generation), options, clock)?;
                open()?
            }
            opened => opened?,
        };
        let epoch = journal.usage().taken_through;
        Ok(Self { life, journal, vm, epoch, is_shut: false, moment: None })
    }

    /// The disks as the journal numbers them, by their place; those that it does not have are added. Whether any was.
    pub(crate) fn add_disks(&self) -> Result<bool> {
        let known = self.numbers();
        let mut is_new = false;
        for (place, name) in DISK_NAMES.iter().enumerate() {
            if !known.contains_key(&place) {
                let name = name.parse().map_err(|_| "a disk's name".to_owned())?;
                let size_bytes = (SECTORS * SECTOR_BYTES) as u64;
                self.journal.add_disk(self.vm, name, size_bytes).map_err(|error| error.to_string())?;
                is_new = true;
            }
        }
        Ok(is_new)
    }

    pub(crate) fn numbers(&self) -> BTreeMap<usize, DiskNumber> {
        let place = |name: &str| DISK_NAMES.iter().position(|known| *known == name);
        let disks = self.journal.disks();
        disks.iter().filter_map(|(number, disk)| Some((place(disk.name.as_str())?, number))).collect()
    }

    pub(crate) fn begin_epoch(&mut self) -> Result<Sequence> {
        self.epoch = self.journal.begin_epoch(self.vm).map_err(|error| error.to_string())?;
        (self.is_shut, self.moment) = (false, None);
        Ok(self.epoch)
    }

    /// Begins the epoch of a moment at which the disks held this.
    pub(crate) fn begin_epoch_at(&mut self, time: Timestamp, disks: Arc<Disks>) -> Result<Sequence> {
        self.epoch = self.journal.begin_epoch_at(self.vm, time).map_err(|error| error.to_string())?;
        (self.is_shut, self.moment) = (false, Some(disks));
        Ok(self.epoch)
    }

    /// Marks the moment that closes an epoch.
    pub(crate) fn mark(&self) -> Result<Sequence> {
        let checkpoint = Checkpoint { kind: CheckpointKind::Crash, vm: Some(self.vm), name: String::new() };
        match self.journal.checkpoint(checkpoint).map_err(|error| error.to_string())? {
            Taken::Through(record) => Ok(record),
            Taken::Full(full) => Err(format!("there is no room for a mark: {full:?}")),
        }
    }

    /// Lets the guest go on without it.
    pub(crate) fn give_up(&mut self) {
        if let Ok(epoch) = self.journal.begin_epoch(self.vm) {
            (self.epoch, self.moment) = (epoch, None);
        }
        self.is_shut = true;
    }

    /// The connection of a disk has ended, whoever ended it.
    pub(crate) fn client_ended(&mut self) {
        if !self.is_shut
            && let Ok(epoch) = self.journal.begin_epoch(self.vm)
        {
            (self.epoch, self.moment) = (epoch, None);
        }
    }

    /// All disks are whole, by word of an epoch.
    pub(crate) fn declare(&self, place: usize, epoch: Sequence) -> Result<()> {
        if epoch != self.epoch || self.is_shut {
            return Err("an epoch has begun since".to_owned());
        }
        let number = self.numbers().get(&place).copied().ok_or("there is no such disk")?;
        self.journal.disk_is_whole(number).map(drop).map_err(|error| error.to_string())
    }

    pub(crate) fn note(&self, history: &mut History, disks: &Arc<Disks>) {
        history.note(&self.journal, self.moment.as_ref().unwrap_or(disks));
    }
}
