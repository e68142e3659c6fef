//! What stands at the end of a merged index.

use model::JournalId;

use crate::{
    Result, SegmentNumber, Sequence,
    codec::{Checksum, Reader, preamble, seal},
};

const MAGIC: [u8; 6] = *b"HFJIDX";
const VERSION: u16 = 1;

/// Bytes of a trailer.
pub(crate) const TRAILER_BYTES: usize = 120;

/// Which segments a merged index is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexTrailer {
    pub(crate) journal: JournalId,
    pub(crate) level: u32,
    pub(crate) page_count: u32,
    pub(crate) first: SegmentNumber,
    pub(crate) last: SegmentNumber,
    /// The last record of the last segment.
    pub(crate) last_sequence: Sequence,
    /// The trailer's digest of the last segment: what the index was made from.
    pub(crate) made_from: Checksum,
}

impl IndexTrailer {
    /// What ties the pages of the index to it.
    pub(crate) fn owner(journal: JournalId, level: u32, first: SegmentNumber) -> Checksum {
        let mut hasher = blake3::Hasher::new();
        hasher.update(journal.as_str().as_bytes());
        hasher.update(&level.to_le_bytes());
        hasher.update(&first.0.to_le_bytes());
        *hasher.finalize().as_bytes()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = preamble(MAGIC, VERSION);
        bytes.extend(self.journal.as_str().as_bytes());
        bytes.extend(self.level.to_le_bytes());
        bytes.extend(self.page_count.to_le_bytes());
        bytes.extend(self.first.0.to_le_bytes());
        bytes.extend(self.last.0.to_le_bytes());
        bytes.extend(self.last_sequence.0.to_le_bytes());
        bytes.extend(self.made_from);
        seal(&mut bytes);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let what = "an index's trailer";
        Reader::new(bytes, what).preamble(MAGIC, VERSION)?;
        let (mut reader, _) = Reader::sealed(bytes, what)?;
        Self::decode_content(&mut reader)
    }

    pub(crate) fn decode_content(reader: &mut Reader<'_>) -> Result<Self> {
        reader.preamble(MAGIC, VERSION)?;
        let trailer = Self {
            journal: reader.id()?,
            level: reader.u32()?,
            page_count: reader.u32()?,
            first: SegmentNumber(reader.u64()?),
            last: SegmentNumber(reader.u64()?),
            last_sequence: Sequence(reader.u64()?),
            made_from: reader.array()?,
        };
        if reader.rest_bytes() == 0 { Ok(trailer) } else { Err(reader.error("goes on after its end")) }
    }
}
