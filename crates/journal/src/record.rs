//! Records: what happened to disks, one after another, as they lie in a block.

use bytes::Bytes;
use image::ByteRange;
use model::Timestamp;

use crate::{DiskNumber, Mark, MarkRecord, Result, Sequence, block::BlockHead, codec::Reader};

/// The unit of disks.
pub(crate) const SECTOR_BYTES: u64 = 512;

/// The most bytes of a disk in one record; longer writes become several.
pub(crate) const RECORD_DATA_BYTES_MAX: usize = 256 << 10;

/// Bytes that a record takes at least.
const RECORD_BYTES_MIN: usize = 7;

/// The most bytes that a record takes beside its data.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = 32;

/// One thing that happened to a disk, or to all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the order.
    pub sequence: Sequence,
    /// When it was taken in, by the source's clock, which in a journal never goes back.
    pub time: Timestamp,
    /// What happened.
    pub change: Change,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Bytes were written.
    Write {
        /// To which disk.
        disk: DiskNumber,
        /// Where.
        offset_bytes: u64,
        /// What.
        data: Bytes,
    },
    /// A range reads as zero from now on.
    Zero {
        /// Of which disk.
        disk: DiskNumber,
        /// Which.
        range: ByteRange,
    },
    /// The moment was marked.
    Mark(Mark),
}

/// A record as it lies in a block, its data not touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawRecord {
    pub(crate) sequence: Sequence,
    pub(crate) time: Timestamp,
    pub(crate) body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// `position` is where the data begins among the block's bytes.
    Write {
        disk: DiskNumber,
        sector: u64,
        sectors: u32,
        position: u32,
    },
    Zero {
        disk: DiskNumber,
        sector: u64,
        sectors: u64,
    },
    Mark(Mark),
}

impl RawRecord {
    /// The record with its data, which stays where it is.
    pub(crate) fn with_data(self, block: &Bytes) -> Record {
        let change = match self.body {
            Body::Write { disk, sector, sectors, position } => {
                let length = sectors as usize * SECTOR_BYTES as usize;
                let data = block.slice(position as usize..position as usize + length);
                Change::Write { disk, offset_bytes: sector * SECTOR_BYTES, data }
            }
            Body::Zero { disk, sector, sectors } => {
                let range =
                    ByteRange { offset_bytes: sector * SECTOR_BYTES, length_bytes: sectors * SECTOR_BYTES };
                Change::Zero { disk, range }
            }
            Body::Mark(mark) => Change::Mark(mark),
        };
        Record { sequence: self.sequence, time: self.time, change }
    }

    pub(crate) fn as_mark(&self) -> Option<MarkRecord> {
        match &self.body {
            Body::Mark(mark) => {
                Some(MarkRecord { sequence: self.sequence, time: self.time, mark: mark.clone() })
            }
            _ => None,
        }
    }
}

/// Records on their way into a block.
#[derive(Debug)]
pub(crate) struct RawBlock {
    pub(crate) bytes: Vec<u8>,
    pub(crate) first: Sequence,
    pub(crate) count: u32,
    pub(crate) first_time: Timestamp,
    pub(crate) last_time: Timestamp,
}

impl RawBlock {
    pub(crate) fn new(first: Sequence, time: Timestamp) -> Self {
        Self { bytes: Vec::new(), first, count: 0, first_time: time, last_time: time }
    }

    /// The number of the last record; that before the first where there is none.
    pub(crate) fn last(&self) -> Sequence {
        self.first.plus(u64::from(self.count)).previous()
    }

    pub(crate) fn write(&mut self, time: Timestamp, disk: DiskNumber, sector: u64, data: &[u8]) {
        self.head(1, time);
        self.bytes.extend(disk.0.to_le_bytes());
        self.bytes.extend(sector.to_le_bytes());
        self.bytes.extend(((data.len() as u64 / SECTOR_BYTES) as u32).to_le_bytes());
        self.bytes.extend_from_slice(data);
    }

    pub(crate) fn zero(&mut self, time: Timestamp, disk: DiskNumber, sector: u64, sectors: u64) {
        self.head(2, time);
        self.bytes.extend(disk.0.to_le_bytes());
        self.bytes.extend(sector.to_le_bytes());
        self.bytes.extend(sectors.to_le_bytes());
    }

    pub(crate) fn mark(&mut self, time: Timestamp, mark: &Mark) {
        self.head(3, time);
        let mut body = Vec::new();
        mark.encode(&mut body);
        self.bytes.extend((body.len() as u16).to_le_bytes());
        self.bytes.extend(body);
    }

    fn head(&mut self, kind: u8, time: Timestamp) {
        self.bytes.push(kind);
        let later_us = time.microseconds_since(self.first_time).clamp(0, i64::from(u32::MAX));
        self.bytes.extend((later_us as u32).to_le_bytes());
        self.last_time = time;
        self.count += 1;
    }
}

/// Reads the records of a block, all or none.
pub(crate) fn decode_records(head: &BlockHead, block: &[u8]) -> Result<Vec<RawRecord>> {
    let mut reader = Reader::new(block, "a block");
    if (head.count as usize).checked_mul(RECORD_BYTES_MIN).is_none_or(|bytes| bytes > block.len()) {
        return Err(reader.error("counts more records than it holds"));
    }
    let mut records = Vec::with_capacity(head.count as usize);
    for number in 0..head.count {
        let kind = reader.u8()?;
        let later_us = i64::from(reader.u32()?);
        let time = head.first_time.as_microseconds().saturating_add(later_us);
        let body = match kind {
            1 => {
                let (disk, sector, sectors) = (DiskNumber(reader.u32()?), reader.u64()?, reader.u32()?);
                if sectors as usize > RECORD_DATA_BYTES_MAX / SECTOR_BYTES as usize {
                    return Err(reader.error("holds a write that is too long"));
                }
                let position = (block.len() - reader.rest_bytes()) as u32;
                reader.take(sectors as usize * SECTOR_BYTES as usize)?;
                Body::Write { disk, sector, sectors, position }
            }
            2 => {
                Body::Zero { disk: DiskNumber(reader.u32()?), sector: reader.u64()?, sectors: reader.u64()? }
            }
            3 => {
                let length = reader.u16()?;
                Body::Mark(Mark::decode(reader.take(usize::from(length))?)?)
            }
            _ => return Err(reader.error("holds a record of an unknown kind")),
        };
        let sequence = head.first.plus(u64::from(number));
        records.push(RawRecord { sequence, time: Timestamp::from_microseconds(time), body });
    }
    reader.finish()?;
    Ok(records)
}
