//! Blocks: records compressed together, the unit in which a journal is written, shipped and read.

use bytes::Bytes;
use model::Timestamp;

use crate::{
    Error, Result, Sequence,
    codec::{Checksum, Reader, put_time},
    record::{RawBlock, RawRecord, decode_records},
};

/// Records are closed into a block when they take this many bytes.
pub(crate) const BLOCK_BYTES: usize = 256 << 10;

/// The most bytes that a block may expand to; larger ones are refused before any memory is taken.
pub(crate) const RAW_BYTES_MAX: u32 = 1 << 20;

/// Bytes of a block before its records.
pub(crate) const HEAD_BYTES: usize = 80;

/// The magic of every block.
pub(crate) const MAGIC: [u8; 4] = *b"HFJB";

/// The zstd level: see `docs/format.md`, "Why so".
const LEVEL: i32 = 1;

/// What must be known of a block to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockHead {
    pub(crate) is_compressed: bool,
    pub(crate) stored_bytes: u32,
    pub(crate) raw_bytes: u32,
    pub(crate) count: u32,
    pub(crate) first: Sequence,
    pub(crate) first_time: Timestamp,
    /// What was durable at the source when the block was written: if that is missing, it was not lost with the tail.
    pub(crate) durable: Sequence,
    pub(crate) checksum: Checksum,
}

impl BlockHead {
    /// The number of the last record.
    pub(crate) fn last(&self) -> Sequence {
        self.first.plus(u64::from(self.count)).previous()
    }

    /// Bytes in the segment.
    pub(crate) fn whole_bytes(&self) -> u64 {
        HEAD_BYTES as u64 + u64::from(self.stored_bytes)
    }

    /// Reads a head. Its numbers are possible, but not proved before [`BlockHead::open`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, "a block");
        if reader.array::<4>()? != MAGIC {
            return Err(reader.error("does not start with its magic"));
        }
        let is_compressed = match reader.array::<4>()? {
            [0, 0, 0, 0] => false,
            [1, 0, 0, 0] => true,
            _ => return Err(reader.error("is of an unknown encoding")),
        };
        let (stored_bytes, raw_bytes, count) = (reader.u32()?, reader.u32()?, reader.u32()?);
        if reader.u32()? != 0 || !(1..=RAW_BYTES_MAX).contains(&raw_bytes) || stored_bytes > raw_bytes {
            return Err(reader.error("has an impossible length"));
        }
        if count == 0 || (!is_compressed && stored_bytes != raw_bytes) {
            return Err(reader.error("has an impossible length"));
        }
        let (first, first_time, durable) = (Sequence(reader.u64()?), reader.time()?, Sequence(reader.u64()?));
        let checksum = reader.array()?;
        Ok(Self { is_compressed, stored_bytes, raw_bytes, count, first, first_time, durable, checksum })
    }

    /// Checks the block at its place in its segment, and expands it. `block` is the whole of it.
    pub(crate) fn open(&self, block: &[u8], place: Place<'_>) -> Result<Bytes> {
        let damaged = |why| Error::corrupt(format!("the block at byte {} {why}", place.offset_bytes));
        let (head, stored) = block.split_at_checked(HEAD_BYTES).ok_or_else(|| damaged("ends too early"))?;
        if stored.len() != self.stored_bytes as usize || place.checksum(head, stored) != self.checksum {
            return Err(damaged("does not have its checksum"));
        }
        self.expand(stored).map_err(|_| damaged("does not expand to what its head says"))
    }

    /// The records' bytes. Takes no more memory than the head says, whatever is stored.
    pub(crate) fn expand(&self, stored: &[u8]) -> Result<Bytes> {
        if !self.is_compressed {
            return Ok(Bytes::copy_from_slice(stored));
        }
        let expanded = zstd::bulk::decompress(stored, self.raw_bytes as usize)
            .map_err(|error| Error::corrupt("a block does not decompress").with_source(error))?;
        if expanded.len() == self.raw_bytes as usize {
            Ok(expanded.into())
        } else {
            Err(Error::corrupt("a block has another length than its head says"))
        }
    }

    pub(crate) fn records(&self, raw: &[u8]) -> Result<Vec<RawRecord>> {
        decode_records(self, raw)
    }
}

/// Where a block lies. Its checksum holds there and nowhere else: what an earlier file left on the device is no block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The checksum of the segment's header.
    pub(crate) header: &'a Checksum,
    pub(crate) offset_bytes: u64,
}

impl Place<'_> {
    fn checksum(&self, head: &[u8], stored: &[u8]) -> Checksum {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.header);
        hasher.update(&self.offset_bytes.to_le_bytes());
        hasher.update(&head[..HEAD_BYTES - 32]);
        hasher.update(stored);
        *hasher.finalize().as_bytes()
    }
}

/// Compresses blocks; keeps its tables between them.
pub(crate) struct Encoder {
    compressor: zstd::bulk::Compressor<'static>,
}

impl Encoder {
    pub(crate) fn new() -> Result<Self> {
        let failed = |error| Error::invalid("zstd has no memory for its tables").with_source(error);
        let mut compressor = zstd::bulk::Compressor::new(LEVEL).map_err(failed)?;
        // What the checksum of the block cannot see: a fault between the guest's bytes and the compressed ones.
        compressor.include_checksum(true).map_err(failed)?;
        Ok(Self { compressor })
    }

    /// The block as it is stored at that place.
    pub(crate) fn encode(&mut self, raw: &RawBlock, durable: Sequence, place: Place<'_>) -> Result<Vec<u8>> {
        let compressed = self
            .compressor
            .compress(&raw.bytes)
            .map_err(|error| Error::invalid("a block cannot be compressed").with_source(error))?;
        let is_compressed = compressed.len() < raw.bytes.len();
        let stored = if is_compressed { &compressed } else { &raw.bytes };
        let mut block = Vec::with_capacity(HEAD_BYTES + stored.len());
        block.extend(MAGIC);
        block.extend([u8::from(is_compressed), 0, 0, 0]);
        block.extend((stored.len() as u32).to_le_bytes());
        block.extend((raw.bytes.len() as u32).to_le_bytes());
        block.extend(raw.count.to_le_bytes());
        block.extend(0u32.to_le_bytes());
        block.extend(raw.first.0.to_le_bytes());
        put_time(&mut block, raw.first_time);
        block.extend(durable.0.to_le_bytes());
        block.extend([0; 32]);
        let checksum = place.checksum(&block, stored);
        block[HEAD_BYTES - 32..].copy_from_slice(&checksum);
        block.extend_from_slice(stored);
        Ok(block)
    }
}
