//! Packs: many sealed frames in one object, and a sealed directory of the chunks in them.

mod builder;

pub(crate) use builder::{PackBuilder, SealedPack};

use std::ops::Range;

use crate::{
    ChunkId, Error, Result,
    codec::{Magic, PREAMBLE_BYTES, Reader, preamble},
    frame::{FRAME_BYTES_MAX, FrameHead, FrameKind},
    keys::{Keys, PrivateKey},
    seal::{Role, Seal},
};

/// Packs of data and of tree nodes: who has no key can tell which is which, and readers know how to open them.
const DATA_MAGIC: Magic = *b"HFDATA";
const TREE_MAGIC: Magic = *b"HFTREE";
const END_MAGIC: [u8; 4] = *b"HFPE";
const VERSION: u16 = 1;

/// Bytes before the first frame.
pub(crate) const HEADER_BYTES: usize = PREAMBLE_BYTES + 32;

/// Bytes after the directory.
const TRAILER_BYTES: usize = 8;

/// The largest pack that is read.
pub(crate) const PACK_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a directory's entries, without the chunks' and with.
const FRAME_ENTRY_BYTES: usize = FrameHead::BYTES + 4;
const CHUNK_ENTRY_BYTES: usize = 36;

/// What a pack's key is derived from, in the pack's header and in the index: random, of a data pack the public half of an
/// ephemeral key.
pub(crate) type Salt = [u8; 32];

/// The seal of the pack with this salt.
///
/// # Errors
/// [`crate::ErrorKind::WrongKey`] for a data pack when the keys can only write.
pub(crate) fn seal(keys: &Keys, kind: FrameKind, salt: &Salt) -> Result<Seal> {
    let header = header(kind, salt);
    match kind {
        FrameKind::Data => keys.seal_of_reader(salt, header),
        FrameKind::Tree => Ok(keys.seal(header)),
    }
}

/// The salt and the seal of a new pack, from 32 random bytes.
fn new_seal(keys: &Keys, kind: FrameKind, random: [u8; 32]) -> Result<(Salt, Seal)> {
    match kind {
        FrameKind::Data => {
            let ephemeral = PrivateKey::from_bytes(&random);
            let salt = *ephemeral.public();
            Ok((salt, keys.seal_for_reader(&ephemeral, header(kind, &salt))?))
        }
        FrameKind::Tree => Ok((random, keys.seal(header(kind, &random)))),
    }
}

fn header(kind: FrameKind, salt: &Salt) -> Vec<u8> {
    let magic = match kind {
        FrameKind::Data => DATA_MAGIC,
        FrameKind::Tree => TREE_MAGIC,
    };
    let mut bytes = preamble(magic, VERSION);
    bytes.extend(salt);
    bytes
}

/// Reads the first bytes of a pack.
pub(crate) fn decode_header(bytes: &[u8]) -> Result<(FrameKind, Salt)> {
    let mut reader = Reader::new(bytes, "a pack");
    let kind = if bytes.starts_with(&TREE_MAGIC) {
        reader.preamble(TREE_MAGIC, VERSION)?;
        FrameKind::Tree
    } else {
        reader.preamble(DATA_MAGIC, VERSION)?;
        FrameKind::Data
    };
    Ok((kind, reader.array()?))
}

/// A frame, and the chunks in it with their lengths, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrameEntry {
    pub(crate) head: FrameHead,
    pub(crate) chunks: Vec<(ChunkId, u32)>,
}

/// A pack as it was read, its directory open and its frames still sealed.
#[derive(Debug)]
pub(crate) struct OpenPack {
    pub(crate) seal: Seal,
    /// The frames, and where in the pack they are.
    pub(crate) frames: Vec<(FrameEntry, Range<usize>)>,
}

impl OpenPack {
    /// Opens the pack with these bytes.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongKey`] for a data pack when the keys can only write.
    pub(crate) fn parse(bytes: &[u8], keys: &Keys) -> Result<Self> {
        let damaged = |why| Error::corrupt(format!("a pack {why}"));
        let (kind, salt) = decode_header(bytes)?;
        let (body, trailer) =
            bytes.split_last_chunk::<TRAILER_BYTES>().ok_or_else(|| damaged("ends too early"))?;
        let directory_bytes = decode_trailer(trailer)?;
        let (body, sealed) = body
            .len()
            .checked_sub(directory_bytes)
            .and_then(|start| body.split_at_checked(start))
            .ok_or_else(|| damaged("is shorter than its directory"))?;
        let seal = seal(keys, kind, &salt)?;
        let mut directory = sealed.to_vec();
        seal.open(Role::Directory, 0, &mut directory)
            .map_err(|_| damaged("has a directory that was altered"))?;
        let mut rest = Reader::new(body.get(HEADER_BYTES..).unwrap_or_default(), "a pack");
        let (mut frames, mut start) = (Vec::new(), HEADER_BYTES);
        for entry in decode_directory(&directory)? {
            if entry.head.kind != kind {
                return Err(damaged("holds frames of another kind"));
            }
            let end = start + rest.take(entry.head.stored_bytes as usize)?.len();
            frames.push((entry, start..end));
            start = end;
        }
        rest.finish()?;
        Ok(Self { seal, frames })
    }
}

fn encode_trailer(directory_bytes: usize) -> [u8; TRAILER_BYTES] {
    let mut trailer = [0; TRAILER_BYTES];
    trailer[..4].copy_from_slice(&(directory_bytes as u32).to_le_bytes());
    trailer[4..].copy_from_slice(&END_MAGIC);
    trailer
}

/// Bytes of the sealed directory before the trailer.
pub(crate) fn decode_trailer(bytes: &[u8; TRAILER_BYTES]) -> Result<usize> {
    let mut reader = Reader::new(bytes, "a pack's trailer");
    let directory_bytes = reader.u32()?;
    if reader.array::<4>()? != END_MAGIC {
        return Err(reader.error("does not end with its magic"));
    }
    Ok(directory_bytes as usize)
}

pub(crate) fn encode_directory(frames: &[FrameEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((frames.len() as u32).to_le_bytes());
    for frame in frames {
        frame.head.encode(&mut bytes);
        bytes.extend((frame.chunks.len() as u32).to_le_bytes());
        for (id, length_bytes) in &frame.chunks {
            bytes.extend(id.0);
            bytes.extend(length_bytes.to_le_bytes());
        }
    }
    bytes
}

pub(crate) fn decode_directory(bytes: &[u8]) -> Result<Vec<FrameEntry>> {
    let mut reader = Reader::new(bytes, "a pack's directory");
    let count = reader.count(FRAME_ENTRY_BYTES)?;
    let mut frames = Vec::with_capacity(count);
    for _ in 0..count {
        let head = FrameHead::decode(&mut reader)?;
        let chunk_count = reader.count(CHUNK_ENTRY_BYTES)?;
        let mut chunks = Vec::with_capacity(chunk_count);
        let mut sum_bytes = 0u64;
        for _ in 0..chunk_count {
            let (id, length_bytes) = (ChunkId(reader.array()?), reader.u32()?);
            if !(1..=FRAME_BYTES_MAX).contains(&length_bytes) {
                return Err(reader.error("holds a chunk of an impossible length"));
            }
            sum_bytes += u64::from(length_bytes);
            chunks.push((id, length_bytes));
        }
        if sum_bytes != u64::from(head.raw_bytes) {
            return Err(reader.error("holds a frame that its chunks do not fill"));
        }
        frames.push(FrameEntry { head, chunks });
    }
    reader.finish()?;
    Ok(frames)
}
