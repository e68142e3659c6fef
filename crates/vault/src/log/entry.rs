//! One entry of the log: a change, its number, and the digest of the entry before it.

use model::{PointId, Timestamp, VaultSettings, VmId};
use serde::{Deserialize, Serialize};

use super::{Moment, Sequence};
use crate::{
    ChunkId, Digest, Error, Result,
    codec::{Magic, PREAMBLE_BYTES, Reader, preamble},
    keys::Keys,
    seal::Role,
};

const MAGIC: Magic = *b"HFLOGE";
const VERSION: u16 = 1;

/// Bytes before the sealed body: the preamble, the number, the digest of the entry before, the salt.
const HEADER_BYTES: usize = PREAMBLE_BYTES + 8 + 32 + 32;

/// Bytes after it: the digest of everything before.
const CHECKSUM_BYTES: usize = 32;

/// The largest entry that is read.
pub(crate) const ENTRY_BYTES_MAX: u64 = 16 << 20;

/// What happened to a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub(crate) enum Change {
    /// A recovery point came to be, the index segments of its writer became part of the index, and those that did so
    /// before are no longer loose.
    Commit { point: NewPoint, segments: Vec<Digest>, settled: Vec<Digest> },
    /// Index segments became part of the index ahead of a commit. They are loose: nothing may need them yet.
    Index { segments: Vec<Digest> },
    /// Points were deleted; they can be brought back until their time is over.
    Delete { points: Vec<PointId> },
    /// Deleted points were brought back.
    Undelete { points: Vec<PointId> },
    /// Points were put under a legal hold.
    Hold { points: Vec<PointId>, reason: String },
    /// Points were released from their hold.
    Release { points: Vec<PointId> },
    /// The vault promises something else about deletion.
    Settings(VaultSettings),
    /// Garbage was given up; its objects may be deleted from now on.
    Collect(Collection),
    /// Everything that collections up to this number gave up is deleted, and so are the entries before `trimmed`.
    Swept { through: Sequence, trimmed: Sequence },
}

/// A point as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct NewPoint {
    pub(crate) id: PointId,
    /// The point's object.
    pub(crate) object: Digest,
    pub(crate) vm_id: VmId,
    pub(crate) captured_at: Timestamp,
    /// The roots of its disks' maps, without those of zeros.
    pub(crate) roots: Vec<ChunkId>,
}

/// What a collection gave up, and what came in its place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Collection {
    /// Deleted points whose time is over.
    pub(crate) points: Vec<PointId>,
    /// Objects of points that were never committed.
    pub(crate) point_objects: Vec<Digest>,
    /// Packs of which nothing is needed, or whose live chunks are in new packs; and packs that no segment lists.
    pub(crate) packs: Vec<Digest>,
    /// Index segments that list such packs, and those that no entry ever named.
    pub(crate) segments: Vec<Digest>,
    /// Index segments that list what the given-up ones did, without the packs.
    pub(crate) new_segments: Vec<Digest>,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) sequence: Sequence,
    /// The digest of the entry before this one.
    pub(crate) previous: Digest,
    /// When it was written.
    pub(crate) at: Moment,
    pub(crate) change: Change,
}

#[derive(Serialize, Deserialize)]
struct Document {
    at: Moment,
    change: Change,
}

impl Entry {
    pub(crate) fn encode(&self, keys: &Keys, salt: [u8; 32]) -> Result<Vec<u8>> {
        let document = Document { at: self.at, change: self.change.clone() };
        let body = serde_json::to_vec(&document).map_err(|error| {
            Error::invalid("the entry cannot be written as a document").with_source(error)
        })?;
        let sealed = seal_numbered(MAGIC, VERSION, self.sequence, self.previous, keys, salt, &body);
        if sealed.len() as u64 > ENTRY_BYTES_MAX {
            return Err(Error::invalid("too much at once for one entry of the vault's log"));
        }
        Ok(sealed)
    }

    #[cfg(test)]
    pub(crate) fn encode_body(&self) -> Vec<u8> {
        serde_json::to_vec(&Document { at: self.at, change: self.change.clone() }).unwrap()
    }

    /// Reads the entry that has this number.
    pub(crate) fn decode(sequence: Sequence, bytes: &[u8], keys: &Keys) -> Result<Self> {
        let (previous, body) =
            open_numbered(MAGIC, VERSION, "an entry of the vault's log", sequence, keys, bytes)?;
        let (at, change) = decode_body(&body)?;
        Ok(Self { sequence, previous, at, change })
    }
}

/// Reads the sealed part of an entry.
pub(crate) fn decode_body(body: &[u8]) -> Result<(Moment, Change)> {
    let document: Document = serde_json::from_slice(body).map_err(|error| {
        Error::corrupt("an entry of the vault's log is not the document it should be").with_source(error)
    })?;
    Ok((document.at, document.change))
}

/// Seals an object that has a number, and a digest that it builds on. Its checksum needs no key.
pub(super) fn seal_numbered(
    magic: Magic,
    version: u16,
    sequence: Sequence,
    digest: Digest,
    keys: &Keys,
    salt: [u8; 32],
    body: &[u8],
) -> Vec<u8> {
    let mut bytes = preamble(magic, version);
    bytes.extend(sequence.0.to_le_bytes());
    bytes.extend(digest.0);
    bytes.extend(salt);
    let start = bytes.len();
    let seal = keys.seal(bytes.clone());
    bytes.extend_from_slice(body);
    seal.close(Role::Body, 0, &mut bytes, start);
    let checksum = Digest::of(&bytes);
    bytes.extend(checksum.0);
    bytes
}

/// The digest that a numbered object builds on, checked without a key.
pub(super) fn check_numbered(
    magic: Magic,
    version: u16,
    what: &'static str,
    sequence: Sequence,
    bytes: &[u8],
) -> Result<Digest> {
    let (content, checksum) = bytes
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or_else(|| Error::corrupt(format!("{what} ends too early")))?;
    // First, so that a damaged version is no unknown one.
    if Digest::of(content).0 != *checksum {
        return Err(Error::corrupt(format!("{what}, number {}, is damaged", sequence.0)));
    }
    let mut reader = Reader::new(content, what);
    reader.preamble(magic, version)?;
    let found = reader.u64()?;
    let digest = Digest(reader.array()?);
    if found != sequence.0 {
        return Err(Error::corrupt(format!("{what} has the number {found} instead of {}", sequence.0)));
    }
    Ok(digest)
}

/// The digest that a numbered object builds on, and its body.
pub(super) fn open_numbered(
    magic: Magic,
    version: u16,
    what: &'static str,
    sequence: Sequence,
    keys: &Keys,
    bytes: &[u8],
) -> Result<(Digest, Vec<u8>)> {
    let digest = check_numbered(magic, version, what, sequence, bytes)?;
    let altered = || Error::corrupt(format!("{what}, number {}, was altered", sequence.0));
    let sealed = &bytes[..bytes.len() - CHECKSUM_BYTES];
    let (header, sealed) = sealed.split_at_checked(HEADER_BYTES).ok_or_else(altered)?;
    let mut body = sealed.to_vec();
    keys.seal(header.to_vec()).open(Role::Body, 0, &mut body).map_err(|_| altered())?;
    Ok((digest, body))
}

/// Whether these are the undamaged bytes of an entry with this number. Needs no key.
#[cfg(test)]
pub(crate) fn is_sound(sequence: Sequence, bytes: &[u8]) -> bool {
    check_numbered(MAGIC, VERSION, "an entry of the vault's log", sequence, bytes).is_ok()
}
