//! What was taken in and is not written yet.

use std::collections::VecDeque;

use image::ByteRange;
use model::Timestamp;

use super::{Full, JournalOptions, Shared, Taken, copying::OpenCopy};
use crate::{
    DiskNumber, DiskTable, Error, ErrorKind, Mark, Result, Sequence,
    block::BLOCK_BYTES,
    record::{RECORD_DATA_BYTES_MAX, RECORD_OVERHEAD_BYTES, RawBlock, SECTOR_BYTES},
};

/// Records in memory, in order.
pub(super) struct Intake {
    pub(super) next: Sequence,
    last_time: Timestamp,
    /// The moment of which everything is that is taken in.
    pub(super) stands_at: Option<Timestamp>,
    pub(super) disks: DiskTable,
    open: RawBlock,
    closed: VecDeque<RawBlock>,
    /// Bytes in memory, those that are being written among them.
    pub(super) queued_bytes: u64,
    /// Bytes of segments.
    pub(super) disk_bytes: u64,
    pub(super) copies: Vec<OpenCopy>,
    pub(super) copies_begun: u64,
    /// Why nothing more is taken.
    pub(super) broken: Option<String>,
}

impl Intake {
    pub(super) fn new(next: Sequence, last_time: Timestamp, disks: DiskTable, disk_bytes: u64) -> Self {
        Self {
            next,
            last_time,
            stands_at: None,
            disks,
            open: RawBlock::new(next, last_time),
            closed: VecDeque::new(),
            queued_bytes: 0,
            disk_bytes,
            copies: Vec::new(),
            copies_begun: 0,
            broken: None,
        }
    }

    pub(super) fn write(
        &mut self,
        disk: DiskNumber,
        offset_bytes: u64,
        data: &[u8],
        shared: &Shared,
    ) -> Result<Taken> {
        let range = ByteRange { offset_bytes, length_bytes: data.len() as u64 };
        let (sector, _) = self.check_range(disk, range)?;
        let records = data.len().div_ceil(RECORD_DATA_BYTES_MAX);
        let needed = data.len() + records * RECORD_OVERHEAD_BYTES;
        if let Some(full) = self.lacks_room(needed as u64, &shared.options) {
            return Ok(Taken::Full(full));
        }
        self.note_copies(disk, range);
        let time = self.time(shared);
        for (number, piece) in data.chunks(RECORD_DATA_BYTES_MAX).enumerate() {
            let sector = sector + (number * RECORD_DATA_BYTES_MAX) as u64 / SECTOR_BYTES;
            self.push(piece.len() + RECORD_OVERHEAD_BYTES, time, shared, |block| {
                block.write(time, disk, sector, piece);
            });
        }
        Ok(Taken::Through(self.next.previous()))
    }

    pub(super) fn zero(&mut self, disk: DiskNumber, range: ByteRange, shared: &Shared) -> Result<Taken> {
        let (sector, sectors) = self.check_range(disk, range)?;
        if let Some(full) = self.lacks_room(RECORD_OVERHEAD_BYTES as u64, &shared.options) {
            return Ok(Taken::Full(full));
        }
        self.note_copies(disk, range);
        let time = self.time(shared);
        self.push(RECORD_OVERHEAD_BYTES, time, shared, |block| block.zero(time, disk, sector, sectors));
        Ok(Taken::Through(self.next.previous()))
    }

    /// Takes in a mark, for which there is always room.
    pub(super) fn mark(&mut self, mark: &Mark, shared: &Shared) -> Result<Sequence> {
        self.check_sound()?;
        self.disks.apply(mark)?;
        if let Mark::EpochBegun { vm } = mark {
            // What was read before may lack what is missed from here on.
            let disks = &self.disks;
            self.copies.retain(|copy| disks.get(copy.disk).is_some_and(|disk| disk.vm != *vm));
        }
        let time = self.time(shared);
        let room = RECORD_OVERHEAD_BYTES + 2 * usize::from(u8::MAX) + 64;
        self.push(room, time, shared, |block| block.mark(time, mark));
        Ok(self.next.previous())
    }

    /// What there is no room in for so many bytes more.
    pub(super) fn lacks_room(&self, bytes: u64, options: &JournalOptions) -> Option<Full> {
        let needed = self.queued_bytes + bytes;
        if needed > options.memory_bytes {
            Some(Full::Memory)
        } else if self.disk_bytes + needed > options.disk_bytes {
            Some(Full::Disk)
        } else {
            None
        }
    }

    /// Whether not so much waits that it should be written at once.
    pub(super) fn is_small(&self) -> bool {
        self.closed.is_empty() && self.broken.is_none()
    }

    /// Everything that waits, in order. It counts as waiting until [`Intake::written`].
    pub(super) fn take_all(&mut self) -> VecDeque<RawBlock> {
        self.close();
        std::mem::take(&mut self.closed)
    }

    /// So many bytes of blocks are written, and take so many bytes of a segment.
    pub(super) fn written(&mut self, raw_bytes: usize, stored_bytes: usize) {
        self.queued_bytes -= (raw_bytes as u64).min(self.queued_bytes);
        self.disk_bytes += stored_bytes as u64;
    }

    pub(super) fn check_sound(&self) -> Result<()> {
        match &self.broken {
            None => Ok(()),
            Some(why) => Err(Error::new(ErrorKind::Broken, format!("the journal takes nothing more: {why}"))
                .with_guidance("open the journal again")),
        }
    }

    /// The sectors of a range, if it is one of whole sectors of that disk.
    pub(super) fn check_range(&self, disk: DiskNumber, range: ByteRange) -> Result<(u64, u64)> {
        self.check_sound()?;
        if !range.offset_bytes.is_multiple_of(SECTOR_BYTES)
            || !range.length_bytes.is_multiple_of(SECTOR_BYTES)
        {
            let context =
                format!("{} bytes at {} are no whole sectors", range.length_bytes, range.offset_bytes);
            return Err(Error::invalid(context));
        }
        let (sector, sectors) = (range.offset_bytes / SECTOR_BYTES, range.length_bytes / SECTOR_BYTES);
        self.disks.check(disk, sector, sectors)?;
        Ok((sector, sectors))
    }

    /// The time now, which does not go back, or the moment at which it stands.
    fn time(&mut self, shared: &Shared) -> Timestamp {
        let now = self.stands_at.unwrap_or_else(|| shared.clock.now());
        self.last_time = self.last_time.max(now);
        self.last_time
    }

    /// When the newest record was taken in.
    pub(super) fn newest_time(&self) -> Timestamp {
        self.last_time
    }

    fn push(&mut self, room: usize, time: Timestamp, shared: &Shared, put: impl FnOnce(&mut RawBlock)) {
        if self.open.count > 0 && self.open.bytes.len() + room > BLOCK_BYTES {
            self.close();
            shared.filled.notify_one();
        }
        if self.open.count == 0 {
            self.open = RawBlock::new(self.next, time);
            self.open.bytes.reserve(BLOCK_BYTES.min(room.next_power_of_two()));
        }
        let before = self.open.bytes.len();
        put(&mut self.open);
        self.queued_bytes += (self.open.bytes.len() - before) as u64;
        self.next = self.next.next();
    }

    fn close(&mut self) {
        if self.open.count > 0 {
            let next = RawBlock::new(self.next, self.last_time);
            self.closed.push_back(std::mem::replace(&mut self.open, next));
        }
    }
}
