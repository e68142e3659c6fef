//! What stands at the end of a sealed segment: its marks, the index of its extents, and a trailer of fixed length.

use model::Timestamp;

use crate::{
    Result, Sequence,
    codec::{Checksum, Reader, preamble, put_time, seal},
};

const MAGIC: [u8; 6] = *b"HFJEND";
const VERSION: u16 = 1;

/// Bytes of a trailer.
pub(crate) const TRAILER_BYTES: usize = 168;

/// The last bytes of a sealed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// Where the blocks end and the marks begin.
    pub(crate) blocks_end_bytes: u64,
    pub(crate) marks_bytes: u32,
    pub(crate) page_count: u32,
    pub(crate) last: Sequence,
    pub(crate) first_time: Timestamp,
    pub(crate) last_time: Timestamp,
    /// Bytes of disks that were written.
    pub(crate) data_bytes: u64,
    /// Whether a mark says something of disks, and is not only a checkpoint.
    pub(crate) changes_disks: bool,
    /// BLAKE3 over the header's checksum and those of all blocks.
    pub(crate) blocks_digest: Checksum,
    /// BLAKE3 over the marks and the pages.
    pub(crate) index_digest: Checksum,
}

impl Trailer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = preamble(MAGIC, VERSION);
        bytes.extend(self.blocks_end_bytes.to_le_bytes());
        bytes.extend(self.marks_bytes.to_le_bytes());
        bytes.extend(self.page_count.to_le_bytes());
        bytes.extend(self.last.0.to_le_bytes());
        put_time(&mut bytes, self.first_time);
        put_time(&mut bytes, self.last_time);
        bytes.extend(self.data_bytes.to_le_bytes());
        bytes.extend(u32::from(self.changes_disks).to_le_bytes());
        bytes.extend([0; 12]);
        bytes.extend(self.blocks_digest);
        bytes.extend(self.index_digest);
        seal(&mut bytes);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let what = "a segment's trailer";
        Reader::new(bytes, what).preamble(MAGIC, VERSION)?;
        let (mut reader, _) = Reader::sealed(bytes, what)?;
        Self::decode_content(&mut reader)
    }

    pub(crate) fn decode_content(reader: &mut Reader<'_>) -> Result<Self> {
        reader.preamble(MAGIC, VERSION)?;
        let trailer = Self {
            blocks_end_bytes: reader.u64()?,
            marks_bytes: reader.u32()?,
            page_count: reader.u32()?,
            last: Sequence(reader.u64()?),
            first_time: reader.time()?,
            last_time: reader.time()?,
            data_bytes: reader.u64()?,
            changes_disks: match (reader.u32()?, reader.array::<12>()?) {
                (0, [0, ..]) => false,
                (1, [0, ..]) => true,
                _ => return Err(reader.error("has an unknown flag")),
            },
            blocks_digest: reader.array()?,
            index_digest: reader.array()?,
        };
        if reader.rest_bytes() == 0 { Ok(trailer) } else { Err(reader.error("goes on after its end")) }
    }
}
