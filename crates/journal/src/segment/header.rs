//! What stands at the start of a segment: enough to understand it without those before.

use model::{JournalId, Timestamp};

use crate::{
    DiskTable, Generation, Result, SegmentNumber, Sequence,
    codec::{Checksum, Reader, preamble, put_time, seal},
};

const MAGIC: [u8; 6] = *b"HFJSEG";
const VERSION: u16 = 1;

/// Bytes from which a header's length can be told.
pub(crate) const PREFIX_BYTES: usize = 12;

/// The longest header that is read.
const HEADER_BYTES_MAX: usize = 2 << 20;

/// The start of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) journal: JournalId,
    pub(crate) generation: Generation,
    pub(crate) number: SegmentNumber,
    /// The first record, if there is one.
    pub(crate) first: Sequence,
    pub(crate) created_at: Timestamp,
    /// The disks before the first record.
    pub(crate) disks: DiskTable,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = preamble(MAGIC, VERSION);
        bytes.extend([0; 4]);
        bytes.extend(self.journal.as_str().as_bytes());
        bytes.extend(self.generation.0.to_le_bytes());
        bytes.extend(self.number.0.to_le_bytes());
        bytes.extend(self.first.0.to_le_bytes());
        put_time(&mut bytes, self.created_at);
        self.disks.encode(&mut bytes);
        let length = bytes.len() + size_of::<Checksum>();
        bytes[8..PREFIX_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// The length of the header that starts so.
    pub(crate) fn length(prefix: &[u8; PREFIX_BYTES]) -> Result<usize> {
        let mut reader = Reader::new(prefix, "a segment's header");
        reader.preamble(MAGIC, VERSION)?;
        let length = reader.u32()? as usize;
        if (PREFIX_BYTES..=HEADER_BYTES_MAX).contains(&length) {
            Ok(length)
        } else {
            Err(reader.error("has an impossible length"))
        }
    }

    /// Reads a header, which is all of the bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, Checksum)> {
        let what = "a segment's header";
        // A newer version is told as such, whatever its checksum looks like.
        Reader::new(bytes, what).preamble(MAGIC, VERSION)?;
        let (mut reader, checksum) = Reader::sealed(bytes, what)?;
        Ok((Self::decode_content(&mut reader, bytes.len())?, checksum))
    }

    pub(crate) fn decode_content(reader: &mut Reader<'_>, length: usize) -> Result<Self> {
        reader.preamble(MAGIC, VERSION)?;
        if reader.u32()? as usize != length {
            return Err(reader.error("has another length than it says"));
        }
        let header = Self {
            journal: reader.id()?,
            generation: Generation(reader.u64()?),
            number: SegmentNumber(reader.u64()?),
            first: Sequence(reader.u64()?),
            created_at: reader.time()?,
            disks: DiskTable::decode(reader)?,
        };
        if reader.rest_bytes() != 0 || header.first == Sequence(0) {
            return Err(reader.error("is not one"));
        }
        Ok(header)
    }
}
