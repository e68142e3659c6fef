//! Reading the blocks of a segment, one after another.

use std::ops::Range;

use bytes::Bytes;

use crate::{
    Error, Result, SegmentNumber, Sequence,
    block::{BlockHead, HEAD_BYTES, MAGIC, Place},
    codec::Checksum,
    folder::FolderFile,
    record::RawRecord,
    segment::{OpenHeader, SealedSegment, file_name},
};

/// A block that was read and checked.
#[derive(Debug, Clone)]
pub(crate) struct OpenBlock {
    pub(crate) head: BlockHead,
    pub(crate) offset_bytes: u64,
    pub(crate) raw: Bytes,
}

impl OpenBlock {
    pub(crate) fn records(&self) -> Result<Vec<RawRecord>> {
        self.head.records(&self.raw)
    }
}

/// The blocks of a segment's file.
pub(crate) struct Blocks<'a> {
    file: &'a dyn FolderFile,
    number: SegmentNumber,
    checksum: Checksum,
    /// Where the blocks are that are read.
    bytes: Range<u64>,
    next: Sequence,
}

impl<'a> Blocks<'a> {
    /// All blocks of a sealed segment.
    pub(crate) fn of_sealed(file: &'a dyn FolderFile, segment: &SealedSegment) -> Self {
        Self {
            file,
            number: segment.number,
            checksum: segment.checksum,
            bytes: segment.header_bytes..segment.blocks_end_bytes,
            next: segment.first,
        }
    }

    /// The blocks of a segment up to this byte.
    pub(crate) fn of_open(file: &'a dyn FolderFile, header: &OpenHeader, end_bytes: u64) -> Self {
        Self {
            file,
            number: header.header.number,
            checksum: header.checksum,
            bytes: header.length_bytes..end_bytes,
            next: header.header.first,
        }
    }

    /// Where the next block is, or would be.
    pub(crate) fn offset_bytes(&self) -> u64 {
        self.bytes.start
    }

    /// The number that the next record has, or would have.
    pub(crate) fn next_sequence(&self) -> Sequence {
        self.next
    }

    /// The next block; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<OpenBlock>> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let name = || file_name(self.number);
        let damaged =
            |why: &str| Error::corrupt(format!("{}: the block at byte {} {why}", name(), self.bytes.start));
        let place = Place { header: &self.checksum, offset_bytes: self.bytes.start };
        let (head, raw) =
            read_block(self.file, place, self.bytes.end).map_err(|error| error.of_file(&name()))?;
        if head.first != self.next {
            return Err(damaged("does not follow the one before it"));
        }
        let block = OpenBlock { head, offset_bytes: self.bytes.start, raw };
        self.bytes.start += head.whole_bytes();
        self.next = head.last().next();
        Ok(Some(block))
    }

    /// Goes on to the block that holds a record, by the heads of those before it. Nothing else of them is looked at.
    pub(crate) fn skip_to(&mut self, sequence: Sequence) -> Result<()> {
        let failed =
            |error| Error::from_io(format!("{}: looking for a block", file_name(self.number)), error);
        while self.bytes.end.saturating_sub(self.bytes.start) >= HEAD_BYTES as u64 {
            let mut bytes = [0; HEAD_BYTES];
            self.file.read_at(self.bytes.start, &mut bytes).map_err(failed)?;
            let head = BlockHead::decode(&bytes).map_err(|error| error.of_file(&file_name(self.number)))?;
            // What makes no sense is found when it is read.
            if head.last() >= sequence || head.first != self.next {
                break;
            }
            self.bytes.start = self.bytes.start.saturating_add(head.whole_bytes());
            self.next = head.last().next();
        }
        Ok(())
    }

    /// Whether behind a block that cannot be read there is one that was written when the next record was durable: then
    /// something was damaged that was no torn tail.
    pub(crate) fn lacks_what_was_durable(&self) -> Result<bool> {
        let failed = |error| Error::from_io(format!("{}: looking for blocks", file_name(self.number)), error);
        let mut window = vec![0; SEARCH_BYTES + MAGIC.len() - 1];
        let mut start = self.bytes.start;
        while start < self.bytes.end {
            let length = (self.bytes.end - start).min(window.len() as u64) as usize;
            self.file.read_at(start, &mut window[..length]).map_err(failed)?;
            let places = window[..length].windows(MAGIC.len()).enumerate();
            for (place, _) in places.filter(|(_, bytes)| *bytes == MAGIC) {
                let place = Place { header: &self.checksum, offset_bytes: start + place as u64 };
                let later = read_block(self.file, place, self.bytes.end);
                if later.is_ok_and(|(head, _)| head.durable >= self.next && head.first > self.next) {
                    return Ok(true);
                }
            }
            start += SEARCH_BYTES as u64;
        }
        Ok(false)
    }
}

/// Bytes that are searched at once.
const SEARCH_BYTES: usize = 1 << 20;

/// Reads and checks the block at a place.
pub(crate) fn read_block(
    file: &dyn FolderFile,
    place: Place<'_>,
    end_bytes: u64,
) -> Result<(BlockHead, Bytes)> {
    let failed = |error| Error::from_io("reading a block", error);
    let ends = || Error::corrupt(format!("the block at byte {} ends too early", place.offset_bytes));
    let room = end_bytes.checked_sub(place.offset_bytes).ok_or_else(ends)?;
    if room < HEAD_BYTES as u64 {
        return Err(ends());
    }
    let mut head_bytes = [0; HEAD_BYTES];
    file.read_at(place.offset_bytes, &mut head_bytes).map_err(failed)?;
    let head = BlockHead::decode(&head_bytes)?;
    if head.whole_bytes() > room {
        return Err(ends());
    }
    let mut block = vec![0; head.whole_bytes() as usize];
    file.read_at(place.offset_bytes, &mut block).map_err(failed)?;
    let raw = head.open(&block, place)?;
    Ok((head, raw))
}
