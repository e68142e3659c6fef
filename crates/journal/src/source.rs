//! The source's side: takes in what is written to disks, and makes it durable in order.

mod copying;
mod intake;
mod ship;
mod sink;

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use env::Clock;
use image::ByteRange;
use model::{DiskName, JournalId, Timestamp, VmId};

use crate::{
    Checkpoint, DiskNumber, DiskTable, Error, ErrorKind, Generation, Mark, Result, Sequence,
    flaw::Flaws,
    folder::{self, Folder},
    mark::CHECKPOINT_NAME_BYTES_MAX,
    segment::{
        self, SealedSegment,
        builder::{SegmentBuilder, Tail},
        header::Header,
    },
};
pub use copying::{Copied, CopyTicket};
use intake::Intake;
use sink::Sink;

/// What a journal may take, and how it is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalOptions {
    /// The most bytes that wait in memory to be written.
    pub memory_bytes: u64,
    /// The most bytes that segments take, from what the target has not acknowledged on.
    pub disk_bytes: u64,
    /// A segment is sealed when its first record is so old.
    pub segment_age: Duration,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { memory_bytes: 64 << 20, disk_bytes: 32 << 30, segment_age: Duration::from_secs(10) }
    }
}

/// What became of something that was to enter the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "what was not taken is in no journal"]
pub enum Taken {
    /// It has this number, that of its last record where it became several. It is in memory, and durable once
    /// [`Journal::durable_through`] has come so far.
    Through(Sequence),
    /// There is no room, and nothing was taken. Wait a little, or break the tap: the guest comes first.
    Full(Full),
}

/// What there is no room in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Memory: writes come faster than they are made durable. [`Journal::flush`] makes room.
    Memory,
    /// The journal's share of the disk: the target does not keep up. [`Journal::release`] makes room.
    Disk,
}

/// What a journal takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that wait in memory.
    pub memory_bytes: u64,
    /// Bytes of segments.
    pub disk_bytes: u64,
    /// The last record that was taken.
    pub taken_through: Sequence,
    /// The last record that is durable.
    pub durable_through: Sequence,
}

/// The journal of the disks of one or several VMs on one host, where they run.
///
/// Contract:
/// - Records get their numbers in the order in which the calls return; what begins after another has returned comes later.
/// - No call but [`Journal::flush`], [`Journal::release`] and those that read touches a file, or waits for one.
/// - Clones share the journal. One thread at a time should flush; more wait for one another.
/// - After a failed flush the handle takes nothing more; what was durable stays.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    folder: Arc<dyn Folder>,
    id: JournalId,
    generation: Generation,
    options: JournalOptions,
    clock: Arc<dyn Clock>,
    intake: Mutex<Intake>,
    /// Woken when a block is full.
    filled: Condvar,
    /// Told when there is more room.
    on_room: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Locked before `intake` and `published` where more than one is.
    sink: Mutex<Sink>,
    published: Mutex<Published>,
    flaws: Flaws,
}

/// What readers may see.
struct Published {
    sealed: VecDeque<SealedSegment>,
    /// The segment that grows, its header's bytes, and how much of it is durable.
    active: crate::SegmentNumber,
    active_header_bytes: u64,
    active_end_bytes: u64,
    durable: Sequence,
}

impl Published {
    fn disk_bytes(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.length_bytes).sum::<u64>() + self.active_end_bytes
    }
}

impl Journal {
    /// Begins a journal in an empty folder.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] where there is one, and those of the file system.
    pub fn create(
        folder: Arc<dyn Folder>,
        id: JournalId,
        generation: Generation,
        options: JournalOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        folder::remove_unfinished(&*folder).map_err(|error| Error::from_io("tidying a journal", error))?;
        if !segment::numbers(&*folder)?.is_empty() {
            return Err(Error::new(ErrorKind::AlreadyExists, "there is a journal in this folder"));
        }
        let header = Header {
            journal: id,
            generation,
            number: crate::SegmentNumber(1),
            first: Sequence(1),
            created_at: clock.now(),
            disks: DiskTable::default(),
        };
        let builder = SegmentBuilder::create(&*folder, &header.encode())?;
        Self::with(folder, options, clock, VecDeque::new(), builder, Flaws::default())
    }

    /// Takes a journal up again. A new epoch begins for every VM: what its guest wrote since the journal was held last is
    /// in no journal, nor is what was acknowledged from memory and lost with it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none, [`ErrorKind::Corrupt`] naming the segment that is damaged.
    pub fn open(folder: Arc<dyn Folder>, options: JournalOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::reopen(folder, options, clock, Flaws::default())
    }

    fn reopen(
        folder: Arc<dyn Folder>,
        options: JournalOptions,
        clock: Arc<dyn Clock>,
        flaws: Flaws,
    ) -> Result<Self> {
        folder::remove_unfinished(&*folder).map_err(|error| Error::from_io("tidying a journal", error))?;
        let numbers = segment::numbers(&*folder)?;
        let Some(last) = numbers.last().copied() else {
            return Err(Error::new(ErrorKind::NotFound, "there is no journal in this folder"));
        };
        let mut sealed: VecDeque<SealedSegment> = VecDeque::new();
        let mut active = None;
        for number in numbers {
            let name = segment::file_name(number);
            let file =
                folder.open(&name).map_err(|error| Error::from_io(format!("opening {name}"), error))?;
            let (header, whole) = match number == last {
                true => segment::open_last(&*file, number)?,
                false => segment::open(&*file, number)?,
            };
            if let Some(previous) = sealed.back()
                && (previous.number.next(), previous.last.next()) != (number, header.header.first)
            {
                return Err(Error::corrupt(format!("{name} does not follow the segment before it")));
            }
            match whole {
                Some(whole) => {
                    if number == last {
                        segment::write_again(&*file, whole.length_bytes)?;
                        active = Some(successor(&*folder, &header, &whole, &*file, &*clock)?);
                    }
                    sealed.push_back(whole);
                }
                None if number == last => {
                    active = Some(SegmentBuilder::resume(file, header, Tail::Unacknowledged)?);
                }
                None => return Err(Error::corrupt(format!("{name} is not sealed, and not the last"))),
            }
        }
        let Some(builder) = active else {
            return Err(Error::new(ErrorKind::NotFound, "there is no journal in this folder"));
        };
        let journal = Self::with(folder, options, clock, sealed, builder, flaws)?;
        if !flaws.has(crate::Flaw::EpochForgotten) {
            for vm in journal.disks().vms() {
                journal.mark(Mark::EpochBegun { vm })?;
            }
        }
        Ok(journal)
    }

    fn with(
        folder: Arc<dyn Folder>,
        options: JournalOptions,
        clock: Arc<dyn Clock>,
        sealed: VecDeque<SealedSegment>,
        builder: SegmentBuilder,
        flaws: Flaws,
    ) -> Result<Self> {
        let header = builder.header().clone();
        let last_time = builder
            .times()
            .map(|(_, last)| last)
            .or_else(|| sealed.back().map(|segment| segment.last_time))
            .unwrap_or(header.header.created_at);
        let published = Published {
            sealed,
            active: builder.number(),
            active_header_bytes: header.length_bytes,
            active_end_bytes: builder.end_bytes(),
            durable: builder.next().previous(),
        };
        let intake = Intake::new(builder.next(), last_time, builder.disks().clone(), published.disk_bytes());
        let shared = Shared {
            folder,
            id: header.header.journal,
            generation: header.header.generation,
            options,
            clock,
            intake: Mutex::new(intake),
            filled: Condvar::new(),
            on_room: OnceLock::new(),
            sink: Mutex::new(Sink::new(builder)?),
            published: Mutex::new(published),
            flaws,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What the journal is called on both sides.
    #[must_use]
    pub fn id(&self) -> JournalId {
        self.shared.id
    }

    /// How often the right to write its disks has changed hands.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.shared.generation
    }

    /// Has this called whenever there is more room than before, by who flushes or releases. It must neither wait nor call the
    /// journal. The first that is given stays.
    pub fn on_room(&self, listener: impl Fn() + Send + Sync + 'static) {
        // Who comes second has no use for it.
        let _ = self.shared.on_room.set(Box::new(listener));
    }

    /// The disks now.
    #[must_use]
    pub fn disks(&self) -> DiskTable {
        self.shared.intake().disks.clone()
    }

    /// Adds a disk, zeros and not whole: copy what it holds, then call [`Journal::disk_is_whole`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an impossible size or one disk too many, [`ErrorKind::Broken`].
    pub fn add_disk(&self, vm: VmId, name: DiskName, size_bytes: u64) -> Result<DiskNumber> {
        let mut intake = self.shared.intake();
        let disk = intake.disks.next_number();
        intake.mark(&Mark::DiskAdded { disk, vm, name, size_bytes }, &self.shared)?;
        Ok(disk)
    }

    /// The disk has another size.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an impossible size or an unknown disk, [`ErrorKind::Broken`].
    pub fn resize_disk(&self, disk: DiskNumber, size_bytes: u64) -> Result<Sequence> {
        self.mark(Mark::DiskResized { disk, size_bytes })
    }

    /// The disk is gone.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an unknown disk, [`ErrorKind::Broken`].
    pub fn remove_disk(&self, disk: DiskNumber) -> Result<Sequence> {
        self.mark(Mark::DiskRemoved { disk })
    }

    /// Writes to the VM's disks may have been missed: from here on none of them is whole. Copies of them that have begun are
    /// worth nothing, and end.
    ///
    /// # Errors
    /// [`ErrorKind::Broken`].
    pub fn begin_epoch(&self, vm: VmId) -> Result<Sequence> {
        self.begin(vm, None)
    }

    /// As [`Journal::begin_epoch`], and everything that is taken in until the next one begins is of that moment: the journal's
    /// time stands at it, or at its newest record where that is later.
    ///
    /// # Errors
    /// [`ErrorKind::Broken`].
    pub fn begin_epoch_at(&self, vm: VmId, moment: Timestamp) -> Result<Sequence> {
        self.begin(vm, Some(moment))
    }

    fn begin(&self, vm: VmId, stands_at: Option<Timestamp>) -> Result<Sequence> {
        let mut intake = self.shared.intake();
        intake.check_sound()?;
        intake.stands_at = stands_at;
        intake.mark(&Mark::EpochBegun { vm }, &self.shared)
    }

    /// Whether the epoch that has begun last is one of a moment, at which the journal's time stands.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.shared.intake().stands_at.is_some()
    }

    /// When the newest record was taken in.
    #[must_use]
    pub fn newest_time(&self) -> Timestamp {
        self.shared.intake().newest_time()
    }

    /// Everything that the journal lacked of the disk was copied since its epoch began.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] while a copy has begun and not finished, or for an unknown disk, [`ErrorKind::Broken`].
    pub fn disk_is_whole(&self, disk: DiskNumber) -> Result<Sequence> {
        let mut intake = self.shared.intake();
        if intake.is_copying(disk) {
            return Err(Error::invalid(format!("disk {disk} is still being copied")));
        }
        intake.mark(&Mark::DiskWhole { disk }, &self.shared)
    }

    /// Names this moment.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a name that is too long, [`ErrorKind::Broken`].
    pub fn checkpoint(&self, checkpoint: Checkpoint) -> Result<Taken> {
        if checkpoint.name.len() > CHECKPOINT_NAME_BYTES_MAX {
            let context = format!("a checkpoint's name has at most {CHECKPOINT_NAME_BYTES_MAX} bytes");
            return Err(Error::invalid(context));
        }
        let mut intake = self.shared.intake();
        if let Some(full) = intake.lacks_room(0, &self.shared.options) {
            return Ok(Taken::Full(full));
        }
        intake.mark(&Mark::Checkpoint(checkpoint), &self.shared).map(Taken::Through)
    }

    /// Takes in a write: whole sectors.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for what is no whole sector or not within the disk, [`ErrorKind::Broken`].
    pub fn write(&self, disk: DiskNumber, offset_bytes: u64, data: &[u8]) -> Result<Taken> {
        self.shared.intake().write(disk, offset_bytes, data, &self.shared)
    }

    /// Takes in that a range of whole sectors reads as zero from now on.
    ///
    /// # Errors
    /// As [`Journal::write`].
    pub fn zero(&self, disk: DiskNumber, range: ByteRange) -> Result<Taken> {
        self.shared.intake().zero(disk, range, &self.shared)
    }

    /// Writes everything that was taken so far, and makes it durable; seals a segment that is full or old. Returns what
    /// [`Journal::durable_through`] then says at least.
    ///
    /// # Errors
    /// Those of the file system; from then on every call is [`ErrorKind::Broken`].
    pub fn flush(&self) -> Result<Sequence> {
        self.shared.flush()
    }

    /// Waits until enough was taken to be worth a flush, but no longer than this.
    pub fn wait_until_filled(&self, longest: Duration) {
        let intake = self.shared.intake();
        let waited = self.shared.filled.wait_timeout_while(intake, longest, |intake| intake.is_small());
        drop(waited);
    }

    /// The last record that is durable here.
    #[must_use]
    pub fn durable_through(&self) -> Sequence {
        self.shared.published().durable
    }

    /// What the journal takes.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let (memory_bytes, taken_through) = {
            let intake = self.shared.intake();
            (intake.queued_bytes, intake.next.previous())
        };
        let published = self.shared.published();
        let (disk_bytes, durable_through) = (published.disk_bytes(), published.durable);
        Usage { memory_bytes, disk_bytes, taken_through, durable_through }
    }

    /// Makes one mistake from now on.
    #[cfg(feature = "flaws")]
    #[doc(hidden)]
    pub fn open_with_flaw(
        folder: Arc<dyn Folder>,
        options: JournalOptions,
        clock: Arc<dyn Clock>,
        flaw: crate::Flaw,
    ) -> Result<Self> {
        Self::reopen(folder, options, clock, Flaws { made: Some(flaw) })
    }

    fn mark(&self, mark: Mark) -> Result<Sequence> {
        self.shared.intake().mark(&mark, &self.shared)
    }
}

/// Begins the segment after one that a process sealed before it died.
fn successor(
    folder: &dyn Folder,
    header: &segment::OpenHeader,
    sealed: &SealedSegment,
    file: &dyn folder::FolderFile,
    clock: &dyn Clock,
) -> Result<SegmentBuilder> {
    let disks = segment::disks_after(header, sealed, file)?;
    let header = Header {
        number: sealed.number.next(),
        first: sealed.last.next(),
        created_at: clock.now(),
        disks,
        ..header.header.clone()
    };
    SegmentBuilder::create(folder, &header.encode())
}

impl Shared {
    fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_of_room(&self) {
        if let Some(listener) = self.on_room.get() {
            listener();
        }
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
