//! Parts of a journal on their way, several in one request.
//!
//! Little-endian: `"HFJP"`, version 1 (u8), three zero bytes, how many parts (u32); for each its segment and its place in it (u64
//! each), what it is (u8: 1 header, 2 block, 3 seal), three zero bytes, its length (u32) and its bytes; at the end the BLAKE3
//! digest of all before it (32 bytes). The bytes are the journal's own, and compressed there.

use bytes::{BufMut as _, Bytes, BytesMut};
use journal::{Part, PartContent, Position, SegmentNumber};

use crate::{Digest, Error, ErrorKind, Result};

const MAGIC: &[u8; 4] = b"HFJP";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 12;
const PART_HEAD_BYTES: usize = 24;
const DIGEST_BYTES: usize = 32;

const HEADER: u8 = 1;
const BLOCK: u8 = 2;
const SEAL: u8 = 3;

/// How much to ask [`journal::Journal::parts`] for: with its last part it fits into one request.
pub const PARTS_BYTES: u64 = 4 << 20;

/// The longest request, in bytes.
pub const PARTS_BODY_MAX_BYTES: usize = 8 << 20;

/// The most parts in a request.
const PARTS_MAX: usize = 1 << 16;

/// The bytes that travel.
///
/// # Errors
/// [`ErrorKind::Invalid`] when they are too many for one request.
pub fn encode(parts: &[Part]) -> Result<Bytes> {
    let content_bytes: u64 = parts.iter().map(|part| part.length_bytes() + PART_HEAD_BYTES as u64).sum();
    if parts.len() > PARTS_MAX || content_bytes > (PARTS_BODY_MAX_BYTES - HEAD_BYTES - DIGEST_BYTES) as u64 {
        return Err(Error::invalid("these are too many parts of a journal for one request"));
    }
    let mut body = BytesMut::with_capacity(HEAD_BYTES + content_bytes as usize + DIGEST_BYTES);
    body.put_slice(MAGIC);
    body.put_slice(&[VERSION, 0, 0, 0]);
    body.put_u32_le(parts.len() as u32);
    for part in parts {
        let (kind, bytes): (u8, &[u8]) = match &part.content {
            PartContent::Header(bytes) => (HEADER, bytes),
            PartContent::Block(bytes) => (BLOCK, bytes),
            PartContent::Seal(digest) => (SEAL, digest),
        };
        body.put_u64_le(part.position.segment.0);
        body.put_u64_le(part.position.offset_bytes);
        body.put_slice(&[kind, 0, 0, 0]);
        body.put_u32_le(bytes.len() as u32);
        body.put_slice(bytes);
    }
    let digest = Digest::of(&body);
    body.put_slice(&digest.0);
    Ok(body.freeze())
}

/// Reads what has come from a peer. The parts share the memory of the body; what is in them, the replica checks.
///
/// # Errors
/// [`ErrorKind::Invalid`], [`ErrorKind::Version`], and [`ErrorKind::Damaged`] where bytes changed on the way.
pub fn decode(body: &Bytes) -> Result<Vec<Part>> {
    let broken = |what: &str| Error::invalid(format!("parts of a journal on their way: {what}"));
    let Some(end) = body.len().checked_sub(DIGEST_BYTES).filter(|end| *end >= HEAD_BYTES) else {
        return Err(broken("they end too early"));
    };
    if !body.starts_with(MAGIC) {
        return Err(broken("these are none"));
    }
    if body[4] != VERSION {
        let detail = format!("parts come in version {}, and this site knows {VERSION}", body[4]);
        return Err(Error::new(ErrorKind::Version, detail));
    }
    if Digest::of(&body[..end]).0 != body[end..] {
        return Err(Error::new(ErrorKind::Damaged, "parts of a journal are not what the sender sent"));
    }
    let count = word(body, 8) as usize;
    if count > PARTS_MAX || count > (end - HEAD_BYTES) / PART_HEAD_BYTES {
        return Err(broken("they are more than their bytes"));
    }
    let (mut parts, mut at) = (Vec::with_capacity(count), HEAD_BYTES);
    for _ in 0..count {
        let start = at + PART_HEAD_BYTES;
        let head =
            body.get(at..start).filter(|_| start <= end).ok_or_else(|| broken("they end too early"))?;
        let position = Position { segment: SegmentNumber(long(head, 0)), offset_bytes: long(head, 8) };
        at = start.saturating_add(word(head, 20) as usize);
        if at > end {
            return Err(broken("they end too early"));
        }
        let bytes = body.slice(start..at);
        let content = match head[16] {
            HEADER => PartContent::Header(bytes),
            BLOCK => PartContent::Block(bytes),
            SEAL => {
                let digest = bytes[..].try_into().map_err(|_| broken("a seal has another length"))?;
                PartContent::Seal(digest)
            }
            _ => return Err(broken("one is of an unknown kind")),
        };
        parts.push(Part { position, content });
    }
    if at != end {
        return Err(broken("they go on after their end"));
    }
    Ok(parts)
}

fn word(bytes: &[u8], place: usize) -> u32 {
    let word = bytes.get(place..place + 4).and_then(|word| word.try_into().ok());
    word.map_or(0, u32::from_le_bytes)
}

fn long(bytes: &[u8], place: usize) -> u64 {
    let long = bytes.get(place..place + 8).and_then(|long| long.try_into().ok());
    long.map_or(0, u64::from_le_bytes)
}
