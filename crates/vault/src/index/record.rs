//! Records of tables: a chunk's id and place as bytes, whose order is the order of tables.

use std::ops::Range;

use super::ChunkPlace;
use crate::ChunkId;

/// Bytes of a record.
pub(super) const RECORD_BYTES: usize = 44;

const ID_BYTES: usize = 32;

/// The chunk's id; then, with the highest byte first: the complement of the frame's number, so that of one chunk's records
/// the newest comes first; the offset; the length.
pub(super) type Record = [u8; RECORD_BYTES];

pub(super) fn encode(id: &ChunkId, place: &ChunkPlace) -> Record {
    let mut record = [0; RECORD_BYTES];
    record[..ID_BYTES].copy_from_slice(&id.0);
    record[32..36].copy_from_slice(&(!place.frame).to_be_bytes());
    record[36..40].copy_from_slice(&place.offset_bytes.to_be_bytes());
    record[40..].copy_from_slice(&place.length_bytes.to_be_bytes());
    record
}

pub(super) fn id_of(record: &Record) -> ChunkId {
    let mut id = [0; ID_BYTES];
    id.copy_from_slice(&record[..ID_BYTES]);
    ChunkId(id)
}

pub(super) fn place_of(record: &Record) -> ChunkPlace {
    let number = |at: usize| u32::from_be_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
    ChunkPlace { frame: !number(32), offset_bytes: number(36), length_bytes: number(40) }
}

/// The first eight bytes of an id, in the order of ids.
pub(super) fn prefix_of(id: &[u8]) -> u64 {
    id.first_chunk().map_or(0, |prefix| u64::from_be_bytes(*prefix))
}

/// Where in sorted records those of one chunk are.
pub(super) fn positions(records: &[Record], id: &ChunkId) -> Range<usize> {
    let start = records.partition_point(|record| record[..ID_BYTES] < id.0[..]);
    let same = records[start..].iter().take_while(|record| record[..ID_BYTES] == id.0[..]);
    start..start + same.count()
}
