//! A pack that is being filled.

use super::{
    CHUNK_ENTRY_BYTES, FRAME_ENTRY_BYTES, FrameEntry, HEADER_BYTES, Salt, encode_directory, encode_trailer,
    header, new_seal,
};
use crate::{
    Result,
    frame::{CompressedFrame, FrameHead, FrameKind},
    keys::Keys,
    pool::Buffer,
    seal::{Role, Seal, TAG_BYTES},
};

/// A pack that is being filled. Sealed frame by frame, in place.
#[derive(Debug)]
pub(crate) struct PackBuilder {
    seal: Seal,
    salt: Salt,
    bytes: Buffer,
    frames: Vec<FrameEntry>,
    directory_bytes: usize,
}

/// A finished pack.
#[derive(Debug)]
pub(crate) struct SealedPack {
    pub(crate) salt: Salt,
    pub(crate) bytes: Buffer,
    pub(crate) frames: Vec<FrameEntry>,
}

impl PackBuilder {
    /// An empty pack for frames of one kind. `random` must be: two packs with the same would share a key.
    pub(crate) fn new(keys: &Keys, kind: FrameKind, random: [u8; 32], mut bytes: Buffer) -> Result<Self> {
        let (salt, seal) = new_seal(keys, kind, random)?;
        bytes.clear();
        bytes.extend(header(kind, &salt));
        Ok(Self { seal, salt, bytes, frames: Vec::new(), directory_bytes: 4 })
    }

    /// Seals a frame into the pack and returns the bytes that it takes there.
    pub(crate) fn push(&mut self, frame: CompressedFrame) -> u64 {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&frame.bytes);
        self.seal.close(Role::Frame, self.frames.len() as u64, &mut self.bytes, start);
        let stored_bytes = self.bytes.len() - start;
        let entry_bytes = FRAME_ENTRY_BYTES + CHUNK_ENTRY_BYTES * frame.chunks.len();
        self.directory_bytes += entry_bytes;
        let head = FrameHead {
            kind: frame.kind,
            encoding: frame.encoding,
            stored_bytes: stored_bytes as u32,
            raw_bytes: frame.raw_bytes,
        };
        self.frames.push(FrameEntry { head, chunks: frame.chunks });
        (stored_bytes + entry_bytes) as u64
    }

    /// What the pack would have in bytes if it were finished now.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes.len() + self.directory_bytes + TAG_BYTES + HEADER_BYTES
    }

    pub(crate) fn finish(mut self) -> SealedPack {
        let start = self.bytes.len();
        self.bytes.extend(encode_directory(&self.frames));
        self.seal.close(Role::Directory, 0, &mut self.bytes, start);
        let trailer = encode_trailer(self.bytes.len() - start);
        self.bytes.extend(trailer);
        SealedPack { salt: self.salt, bytes: self.bytes, frames: self.frames }
    }
}
