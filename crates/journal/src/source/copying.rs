//! Copying what the journal lacks of a disk, while the guest goes on writing to it.
//!
//! A copy is read from the live disk and enters the journal like a write. It may be older than a write that entered while
//! it was read, so where the two meet, the copy gives way. What was written before the reading began is in what was read:
//! a write reaches the disk before it reaches the journal.

use image::{ByteRange, coalesce};

use super::{Full, Journal, Taken, intake::Intake};
use crate::{DiskNumber, Error, Result, record::RECORD_OVERHEAD_BYTES};

/// Ranges that are noted for a copy before they are joined.
const NOTED_MAX: usize = 1024;

/// A copy that has begun: read the range from the live disk now, and finish it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a disk is not whole while a copy of it has begun and not finished"]
pub struct CopyTicket {
    number: u64,
    range: ByteRange,
}

impl CopyTicket {
    /// What is to be read.
    #[must_use]
    pub fn range(&self) -> ByteRange {
        self.range
    }
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied<'a> {
    /// These bytes, as many as the range has.
    Data(&'a [u8]),
    /// Zeros.
    Zero,
    /// Nothing: the copy is given up.
    Nothing,
}

/// A copy that is being read.
#[derive(Debug)]
pub(super) struct OpenCopy {
    number: u64,
    pub(super) disk: DiskNumber,
    range: ByteRange,
    /// What was written since it began.
    written: Vec<ByteRange>,
}

impl Intake {
    /// Tells the copies under way of a write.
    pub(super) fn note_copies(&mut self, disk: DiskNumber, range: ByteRange) {
        for copy in self.copies.iter_mut().filter(|copy| copy.disk == disk) {
            let met = copy.range.intersection(range);
            if !met.is_empty() {
                copy.written.push(met);
            }
            if copy.written.len() > NOTED_MAX {
                copy.written = coalesce(std::mem::take(&mut copy.written));
            }
        }
    }

    pub(super) fn is_copying(&self, disk: DiskNumber) -> bool {
        self.copies.iter().any(|copy| copy.disk == disk)
    }
}

impl Journal {
    /// Begins a copy of a range of whole sectors. Only then read it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an unknown disk or a range outside it, [`crate::ErrorKind::Broken`].
    pub fn begin_copy(&self, disk: DiskNumber, range: ByteRange) -> Result<CopyTicket> {
        let mut intake = self.shared.intake();
        intake.check_range(disk, range)?;
        let number = intake.copies_begun;
        intake.copies_begun += 1;
        intake.copies.push(OpenCopy { number, disk, range, written: Vec::new() });
        Ok(CopyTicket { number, range })
    }

    /// Takes in what was read, but for what the guest has written meanwhile. When the journal is full, the ticket comes back:
    /// what was read stays good, for what is written meanwhile is still noted.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the data has another length than the range, the disk is gone or cut off, or a new
    /// epoch has begun, which ends all copies of its VM;
    /// [`crate::ErrorKind::Broken`]. The copy has then ended.
    pub fn finish_copy(&self, ticket: CopyTicket, copied: Copied<'_>) -> Result<Option<(CopyTicket, Full)>> {
        let mut intake = self.shared.intake();
        let place = intake.copies.iter().position(|copy| copy.number == ticket.number);
        let copy = place.map(|place| intake.copies.swap_remove(place));
        let copy = copy.ok_or_else(|| Error::invalid("an epoch has begun since the copy"))?;
        let needed = match copied {
            Copied::Nothing => return Ok(None),
            Copied::Data(data) if data.len() as u64 != copy.range.length_bytes => {
                return Err(Error::invalid("another number of bytes was read than the copy has"));
            }
            // However it is cut, a record takes less beside its data than a sector.
            Copied::Data(data) => 2 * data.len(),
            Copied::Zero => (copy.written.len() + 1) * RECORD_OVERHEAD_BYTES,
        };
        if let Some(full) = intake.lacks_room(needed as u64, &self.shared.options) {
            intake.copies.push(copy);
            return Ok(Some((ticket, full)));
        }
        let written = match self.shared.flaws.has(crate::Flaw::CopyOverWrites) {
            true => Vec::new(),
            false => coalesce(copy.written),
        };
        for range in without(copy.range, &written) {
            let taken = match copied {
                Copied::Data(data) => {
                    let start = (range.offset_bytes - copy.range.offset_bytes) as usize;
                    let data = &data[start..start + range.length_bytes as usize];
                    intake.write(copy.disk, range.offset_bytes, data, &self.shared)?
                }
                Copied::Zero | Copied::Nothing => intake.zero(copy.disk, range, &self.shared)?,
            };
            debug_assert!(matches!(taken, Taken::Through(_)), "there was room");
        }
        Ok(None)
    }
}

/// What is left of a range.
fn without(range: ByteRange, taken: &[ByteRange]) -> Vec<ByteRange> {
    let mut left = Vec::new();
    let mut start_bytes = range.offset_bytes;
    for taken in taken {
        left.push(ByteRange::between(start_bytes, taken.offset_bytes));
        start_bytes = taken.end_bytes();
    }
    left.push(ByteRange::between(start_bytes, range.end_bytes()));
    left.retain(|range| !range.is_empty());
    left
}
