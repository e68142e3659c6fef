//! Index segments: where the chunks of some packs are. Immutable; a writer adds segments, never changes one.

use crate::{
    ChunkId, Digest, Error, Result,
    codec::Reader,
    frame::{FRAME_BYTES_MAX, FrameHead},
    keys::Keys,
    pack::{FrameEntry, HEADER_BYTES, PACK_BYTES_MAX, Salt},
    sealed_object::ObjectType,
};

const SEGMENT: ObjectType = ObjectType { magic: *b"HFINDX", version: 1, what: "an index segment" };

/// The largest segment that is read.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 128 << 20;

const PACK_ENTRY_BYTES: usize = 68;
const CHUNK_ENTRY_BYTES: usize = 44;

/// A pack, and the frames in it in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackEntry {
    pub(crate) digest: Digest,
    pub(crate) salt: Salt,
    pub(crate) frames: Vec<FrameHead>,
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkPlace {
    /// The frame's number, counted through all packs: of the segment in a segment, of the index in the index.
    pub(crate) frame: u32,
    /// The chunk's first byte in the expanded frame.
    pub(crate) offset_bytes: u32,
    pub(crate) length_bytes: u32,
}

/// A decoded index segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) packs: Vec<PackEntry>,
    /// The chunks, sorted by id.
    pub(crate) chunks: Vec<(ChunkId, ChunkPlace)>,
}

impl Segment {
    /// Adds a pack that is in the store.
    pub(crate) fn add_pack(&mut self, digest: Digest, salt: Salt, frames: &[FrameEntry]) {
        let first: usize = self.packs.iter().map(|pack| pack.frames.len()).sum();
        for (number, frame) in frames.iter().enumerate() {
            let mut offset_bytes = 0;
            for &(id, length_bytes) in &frame.chunks {
                let place = ChunkPlace { frame: (first + number) as u32, offset_bytes, length_bytes };
                self.chunks.push((id, place));
                offset_bytes += length_bytes;
            }
        }
        let frames = frames.iter().map(|frame| frame.head).collect();
        self.packs.push(PackEntry { digest, salt, frames });
    }

    /// The packs, and about how many bytes each has.
    pub(crate) fn pack_sizes(&self) -> Vec<(Digest, u64)> {
        let size_bytes = |pack: &PackEntry| {
            HEADER_BYTES as u64 + pack.frames.iter().map(|frame| u64::from(frame.stored_bytes)).sum::<u64>()
        };
        self.packs.iter().map(|pack| (pack.digest, size_bytes(pack))).collect()
    }

    /// Sorts the chunks, which makes the segment ready to be encoded.
    pub(crate) fn sort(&mut self) {
        self.chunks.sort_unstable_by_key(|(id, _)| *id);
    }

    pub(crate) fn encode(&self, keys: &Keys, salt: [u8; 32]) -> Vec<u8> {
        SEGMENT.seal(keys, salt, &self.encode_body())
    }

    pub(crate) fn encode_body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(CHUNK_ENTRY_BYTES * self.chunks.len() + 4096);
        body.extend((self.packs.len() as u32).to_le_bytes());
        for pack in &self.packs {
            body.extend(pack.digest.0);
            body.extend(pack.salt);
            body.extend((pack.frames.len() as u32).to_le_bytes());
            pack.frames.iter().for_each(|frame| frame.encode(&mut body));
        }
        body.extend((self.chunks.len() as u32).to_le_bytes());
        for (id, place) in &self.chunks {
            body.extend(id.0);
            for number in [place.frame, place.offset_bytes, place.length_bytes] {
                body.extend(number.to_le_bytes());
            }
        }
        body
    }

    pub(crate) fn decode(keys: &Keys, bytes: &[u8]) -> Result<Self> {
        Self::decode_body(&SEGMENT.open(keys, bytes)?)
    }

    pub(crate) fn decode_body(body: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(body, SEGMENT.what);
        let pack_count = reader.count(PACK_ENTRY_BYTES)?;
        let mut packs = Vec::with_capacity(pack_count);
        let mut raw_bytes = Vec::new();
        for _ in 0..pack_count {
            let (digest, salt) = (Digest(reader.array()?), reader.array()?);
            let frame_count = reader.count(FrameHead::BYTES)?;
            let frames =
                (0..frame_count).map(|_| FrameHead::decode(&mut reader)).collect::<Result<Vec<_>>>()?;
            let stored_bytes: u64 = frames.iter().map(|frame| u64::from(frame.stored_bytes)).sum();
            if stored_bytes + HEADER_BYTES as u64 > PACK_BYTES_MAX {
                return Err(reader.error("describes a pack that is too large"));
            }
            if frames.windows(2).any(|pair| matches!(pair, [one, next] if one.kind != next.kind)) {
                return Err(reader.error("describes a pack of frames of two kinds"));
            }
            raw_bytes.extend(frames.iter().map(|frame| frame.raw_bytes));
            packs.push(PackEntry { digest, salt, frames });
        }
        let chunk_count = reader.count(CHUNK_ENTRY_BYTES)?;
        let mut chunks: Vec<(ChunkId, ChunkPlace)> = Vec::with_capacity(chunk_count);
        for _ in 0..chunk_count {
            let id = ChunkId(reader.array()?);
            let place =
                ChunkPlace { frame: reader.u32()?, offset_bytes: reader.u32()?, length_bytes: reader.u32()? };
            check(&place, &raw_bytes)?;
            if chunks.last().is_some_and(|(last, _)| *last > id) {
                return Err(reader.error("is not sorted"));
            }
            chunks.push((id, place));
        }
        reader.finish()?;
        Ok(Self { packs, chunks })
    }
}

fn check(place: &ChunkPlace, raw_bytes: &[u32]) -> Result<()> {
    let end_bytes = place.offset_bytes.checked_add(place.length_bytes);
    match (raw_bytes.get(place.frame as usize), end_bytes) {
        (Some(&frame_bytes), Some(end_bytes))
            if end_bytes <= frame_bytes && frame_bytes <= FRAME_BYTES_MAX =>
        {
            Ok(())
        }
        _ => Err(Error::corrupt("an index segment points outside its frames")),
    }
}
