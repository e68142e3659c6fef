//! The chunk index: where every chunk of the vault is. Kept in memory as sorted arrays, 44 bytes a chunk.

mod segment;

use std::collections::{BTreeSet, HashMap, HashSet};

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

/// A pack as one segment lists it.
#[derive(Debug)]
struct Pack {
    digest: Digest,
    salt: Salt,
    segment: Digest,
    /// Where its last frame ends.
    end_bytes: u64,
    /// It is not in the store, or too short to hold its frames.
    is_missing: bool,
    /// Something in it could not be read, or its segment could not.
    is_damaged: bool,
    /// Its segment is no longer part of the index.
    is_dropped: bool,
}

/// Chunks sorted by id, the ids apart so that a search touches little memory.
#[derive(Debug, Default)]
struct Run {
    ids: Vec<ChunkId>,
    places: Vec<ChunkPlace>,
}

/// The index. Only grows; packs that turn out to be lost are marked, and what is only in them counts as absent.
#[derive(Debug, Default)]
pub(crate) struct Index {
    segments: HashSet<Digest>,
    packs: Vec<Pack>,
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
            let mut offset_bytes = HEADER_BYTES as u32;
            for (number_in_pack, head) in entry.frames.into_iter().enumerate() {
                self.frames.push(Frame { head, pack, number_in_pack: number_in_pack as u32, offset_bytes });
                offset_bytes += head.stored_bytes;
            }
            self.packs.push(Pack {
                digest: entry.digest,
                salt: entry.salt,
                segment: digest,
                end_bytes: offset_bytes.into(),
                is_missing: false,
                is_damaged: false,
                is_dropped: false,
            });
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

    /// Forgets what is only in other segments.
    pub(crate) fn retain_segments(&mut self, segments: &BTreeSet<Digest>) {
        if self.segments.iter().all(|segment| segments.contains(segment)) {
            return;
        }
        self.segments.retain(|segment| segments.contains(segment));
        let kept = |place: &ChunkPlace| {
            let pack =
                self.frames.get(place.frame as usize).and_then(|frame| self.packs.get(frame.pack as usize));
            pack.is_some_and(|pack| segments.contains(&pack.segment))
        };
        for run in &mut self.runs {
            let (ids, places) = run
                .ids
                .iter()
                .zip(&run.places)
                .filter(|(_, place)| kept(place))
                .map(|(id, place)| (*id, *place))
                .unzip();
            *run = Run { ids, places };
        }
        for pack in self.packs.iter_mut().filter(|pack| !segments.contains(&pack.segment)) {
            pack.is_dropped = true;
        }
    }

    /// Whether a chunk is in a pack that is not lost.
    pub(crate) fn holds(&self, id: &ChunkId) -> bool {
        self.places(id).any(|place| !self.is_lost(&place))
    }

    /// Where a chunk is. In a lost pack only when it is nowhere else: what is left of the pack may still hold it.
    pub(crate) fn find(&self, id: &ChunkId) -> Option<ChunkPlace> {
        let sound = self.places(id).find(|place| !self.is_lost(place));
        sound.or_else(|| self.places(id).next())
    }

    /// Compares the first `pack_count` packs with what the store has: their sizes in bytes. Packs that were added after
    /// the store was listed are no concern of that list.
    pub(crate) fn mark_missing(&mut self, pack_count: usize, stored: &HashMap<Digest, u64>) {
        for pack in self.packs.iter_mut().take(pack_count) {
            pack.is_missing = stored.get(&pack.digest).is_none_or(|&size_bytes| size_bytes < pack.end_bytes);
        }
    }

    /// Marks the packs that a check found damaged, and those of segments that it could not read; all others are sound.
    pub(crate) fn mark_damaged(&mut self, packs: &HashSet<Digest>, segments: &HashSet<Digest>) {
        for pack in &mut self.packs {
            pack.is_damaged = packs.contains(&pack.digest) || segments.contains(&pack.segment);
        }
    }

    /// Marks the pack of a frame that could not be read.
    pub(crate) fn mark_pack_damaged(&mut self, frame: u32) {
        let pack = self.frames.get(frame as usize).map(|frame| frame.pack as usize);
        if let Some(pack) = pack.and_then(|pack| self.packs.get_mut(pack)) {
            pack.is_damaged = true;
        }
    }

    /// Lost packs with at least one chunk that is nowhere else. Looks at every chunk when any pack is lost.
    pub(crate) fn lost_pack_count(&self) -> usize {
        if !self.packs.iter().any(|pack| pack.is_lost() && !pack.is_dropped) {
            return 0;
        }
        let missed = self.runs.iter().flat_map(|run| run.ids.iter().zip(&run.places));
        let missed = missed.filter(|(id, place)| self.is_lost(place) && !self.holds(id));
        let packs: HashSet<u32> =
            missed.filter_map(|(_, place)| Some(self.frames.get(place.frame as usize)?.pack)).collect();
        packs.len()
    }

    fn places(&self, id: &ChunkId) -> impl Iterator<Item = ChunkPlace> {
        self.runs.iter().rev().flat_map(move |run| {
            let first = run.ids.partition_point(|known| known < id);
            let same = run.ids.iter().zip(&run.places).skip(first).take_while(move |(known, _)| *known == id);
            same.map(|(_, place)| *place)
        })
    }

    fn is_lost(&self, place: &ChunkPlace) -> bool {
        let frame = self.frames.get(place.frame as usize);
        frame.and_then(|frame| self.packs.get(frame.pack as usize)).is_none_or(Pack::is_lost)
    }

    /// The frame with this number.
    pub(crate) fn frame(&self, number: u32) -> Option<FramePlace> {
        let Frame { head, pack, number_in_pack, offset_bytes } = self.frames.get(number as usize)?;
        let Pack { digest, salt, .. } = self.packs.get(*pack as usize)?;
        let (number_in_pack, offset_bytes) = (*number_in_pack, *offset_bytes);
        let (pack, salt) = (*digest, *salt);
        Some(FramePlace { number, head: *head, pack, salt, number_in_pack, offset_bytes })
    }

    /// How many packs the index knows, each counted as often as segments list it.
    pub(crate) fn pack_count(&self) -> usize {
        self.packs.len()
    }

    /// Shows every record.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(ChunkId, ChunkPlace)) {
        for run in &self.runs {
            run.ids.iter().zip(&run.places).for_each(|(id, place)| visit(*id, *place));
        }
    }

    /// The packs that the index knows, each with a segment that lists it.
    pub(crate) fn listings(&self) -> impl Iterator<Item = (Digest, Digest)> + '_ {
        self.packs.iter().filter(|pack| !pack.is_dropped).map(|pack| (pack.digest, pack.segment))
    }

    /// The packs that the index knows.
    pub(crate) fn packs(&self) -> impl Iterator<Item = Digest> + '_ {
        self.packs.iter().filter(|pack| !pack.is_dropped).map(|pack| pack.digest)
    }
}

impl Pack {
    fn is_lost(&self) -> bool {
        self.is_missing || self.is_damaged
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
