//! The chunk index: where every chunk of the vault is. Kept in memory as sorted arrays, 44 bytes a chunk.

mod segment;

use std::collections::HashSet;

pub(crate) use segment::{ChunkPlace, SEGMENT_BYTES_MAX, Segment};

use crate::{
    ChunkId, Digest,
    frame::FrameHead,
    pack::{HEADER_BYTES, Salt},
};

/// Where a frame is, and how to open it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FramePlace {
    /// The frame's number in the index; never changes while the vault is open.
    pub(crate) number: u32,
    pub(crate) head: FrameHead,
    pub(crate) pack: Digest,
    pub(crate) salt: Salt,
    /// The frame's number in its pack.
    pub(crate) number_in_pack: u32,
    /// The frame's first byte in its pack.
    pub(crate) offset_bytes: u32,
}

#[derive(Debug)]
struct Frame {
    head: FrameHead,
    pack: u32,
    number_in_pack: u32,
    offset_bytes: u32,
}

/// Chunks sorted by id, the ids apart so that a search touches little memory.
#[derive(Debug, Default)]
struct Run {
    ids: Vec<ChunkId>,
    places: Vec<ChunkPlace>,
}

/// The index. Only grows.
#[derive(Debug, Default)]
pub(crate) struct Index {
    segments: HashSet<Digest>,
    packs: Vec<(Digest, Salt)>,
    frames: Vec<Frame>,
    /// Each at least twice as long as the next, so that a search looks into few.
    runs: Vec<Run>,
}

impl Index {
    /// Whether a segment is in the index already.
    pub(crate) fn holds_segment(&self, digest: &Digest) -> bool {
        self.segments.contains(digest)
    }

    /// Takes a segment in; does nothing when it is in already.
    pub(crate) fn add(&mut self, digest: Digest, segment: Segment) {
        if !self.segments.insert(digest) {
            return;
        }
        let first_frame = self.frames.len() as u32;
        for entry in segment.packs {
            let pack = self.packs.len() as u32;
            self.packs.push((entry.digest, entry.salt));
            let mut offset_bytes = HEADER_BYTES as u32;
            for (number_in_pack, head) in entry.frames.into_iter().enumerate() {
                self.frames.push(Frame { head, pack, number_in_pack: number_in_pack as u32, offset_bytes });
                offset_bytes += head.stored_bytes;
            }
        }
        let (ids, places) = segment
            .chunks
            .into_iter()
            .map(|(id, place)| (id, ChunkPlace { frame: first_frame + place.frame, ..place }))
            .unzip();
        self.runs.push(Run { ids, places });
        while let [.., longer, shorter] = &self.runs[..]
            && longer.ids.len() < 2 * shorter.ids.len()
        {
            let merged = merge(longer, shorter);
            self.runs.truncate(self.runs.len() - 2);
            self.runs.push(merged);
        }
    }

    pub(crate) fn holds(&self, id: &ChunkId) -> bool {
        self.find(id).is_some()
    }

    /// Where a chunk is; any of its places when it was stored twice.
    pub(crate) fn find(&self, id: &ChunkId) -> Option<ChunkPlace> {
        self.runs.iter().rev().find_map(|run| {
            let place = run.ids.binary_search(id).ok()?;
            run.places.get(place).copied()
        })
    }

    /// The frame with this number.
    pub(crate) fn frame(&self, number: u32) -> Option<FramePlace> {
        let Frame { head, pack, number_in_pack, offset_bytes } = self.frames.get(number as usize)?;
        let (pack, salt) = *self.packs.get(*pack as usize)?;
        let (number_in_pack, offset_bytes) = (*number_in_pack, *offset_bytes);
        Some(FramePlace { number, head: *head, pack, salt, number_in_pack, offset_bytes })
    }

    /// The packs that the index knows.
    pub(crate) fn packs(&self) -> impl Iterator<Item = Digest> + '_ {
        self.packs.iter().map(|(digest, _)| *digest)
    }
}

/// One run of two.
fn merge(a: &Run, b: &Run) -> Run {
    let length = a.ids.len() + b.ids.len();
    let mut merged = Run { ids: Vec::with_capacity(length), places: Vec::with_capacity(length) };
    let mut left = a.ids.iter().zip(&a.places).peekable();
    let mut right = b.ids.iter().zip(&b.places).peekable();
    loop {
        let next = match (left.peek(), right.peek()) {
            (Some((l, _)), Some((r, _))) if l <= r => left.next(),
            (Some(_), None) => left.next(),
            _ => right.next(),
        };
        let Some((id, place)) = next else { return merged };
        merged.ids.push(*id);
        merged.places.push(*place);
    }
}

#[cfg(test)]
mod tests;
