//! The packs that index segments list, and the frames in them: all of it in memory, 80 bytes a pack and six a frame.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Range,
};

use super::{FramePlace, segment::PackEntry};
use crate::{
    Digest, Error, Result,
    frame::{Encoding, FrameHead, FrameKind},
    pack::{HEADER_BYTES, Salt},
};

/// A pack as one segment lists it: the number of its first frame, never used for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PackNumber(u32);

/// What the index says of a pack, by the word of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListedPack {
    pub(crate) number: PackNumber,
    pub(crate) digest: Digest,
    /// The segment that lists it.
    pub(crate) segment: Digest,
    /// What all of its frames hold; none of a pack without any.
    pub(crate) kind: Option<FrameKind>,
    /// Where its last frame ends.
    pub(crate) end_bytes: u64,
    pub(crate) is_lost: bool,
}

#[derive(Debug)]
struct Pack {
    digest: Digest,
    salt: Salt,
    segment: u32,
    /// It is not in the store, or too short to hold its frames.
    is_missing: bool,
    /// Something in it could not be read, or its segment could not.
    is_damaged: bool,
}

impl Pack {
    fn is_lost(&self) -> bool {
        self.is_missing || self.is_damaged
    }
}

/// A frame's head in six bytes: from the lowest bit a bit for its kind, one for its encoding, 23 each for its lengths.
#[derive(Debug, Clone, Copy)]
struct CompactHead([u8; 6]);

const LENGTH_BITS: u32 = 23;
const LENGTH_MASK: u64 = (1 << LENGTH_BITS) - 1;

impl CompactHead {
    fn new(head: &FrameHead) -> Self {
        let bits = u64::from(head.kind == FrameKind::Tree)
            | u64::from(head.encoding == Encoding::Zstd) << 1
            | u64::from(head.stored_bytes) << 2
            | u64::from(head.raw_bytes) << (2 + LENGTH_BITS);
        let [a, b, c, d, e, f, ..] = bits.to_le_bytes();
        Self([a, b, c, d, e, f])
    }

    fn expand(self) -> FrameHead {
        let [a, b, c, d, e, f] = self.0;
        let bits = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
        FrameHead {
            kind: if bits & 1 == 0 { FrameKind::Data } else { FrameKind::Tree },
            encoding: if bits & 2 == 0 { Encoding::Raw } else { Encoding::Zstd },
            stored_bytes: (bits >> 2 & LENGTH_MASK) as u32,
            raw_bytes: (bits >> (2 + LENGTH_BITS) & LENGTH_MASK) as u32,
        }
    }
}

/// A pack's first frame: its number, and its place in `heads`.
#[derive(Debug)]
struct Start {
    frame: u32,
    head: u32,
}

/// Packs in the order in which they were added, and so by frame number.
#[derive(Debug, Default)]
pub(super) struct Packs {
    /// The numbers of the segments.
    segments: BTreeMap<Digest, u32>,
    next_segment: u32,
    /// Where the frames of each pack are: apart from the packs, so that a search touches little memory.
    starts: Vec<Start>,
    packs: Vec<Pack>,
    heads: Vec<CompactHead>,
    next_frame: u32,
}

impl Packs {
    pub(super) fn holds_segment(&self, digest: &Digest) -> bool {
        self.segments.contains_key(digest)
    }

    /// The number that the next frame will have; those before it are taken.
    pub(super) fn next_frame(&self) -> u32 {
        self.next_frame
    }

    /// The numbers that the frames of these packs would have.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when all numbers are taken.
    pub(super) fn numbers_for(&self, packs: &[PackEntry]) -> Result<Range<u32>> {
        let count: usize = packs.iter().map(|pack| pack.frames.len()).sum();
        let end = u32::try_from(count).ok().and_then(|count| self.next_frame.checked_add(count));
        let end = end.ok_or_else(|| {
            Error::invalid("the index has no number left for a frame").with_guidance("open the vault anew")
        })?;
        Ok(self.next_frame..end)
    }

    /// Takes in the packs of a segment, whose frames get the numbers of [`Packs::numbers_for`]. Packs without frames are
    /// left out: nothing can be in them.
    pub(super) fn add(&mut self, digest: Digest, packs: &[PackEntry]) {
        let segment = self.next_segment;
        self.segments.insert(digest, segment);
        self.next_segment += 1;
        for entry in packs.iter().filter(|pack| !pack.frames.is_empty()) {
            self.starts.push(Start { frame: self.next_frame, head: self.heads.len() as u32 });
            self.packs.push(Pack {
                digest: entry.digest,
                salt: entry.salt,
                segment,
                is_missing: false,
                is_damaged: false,
            });
            self.heads.extend(entry.frames.iter().map(CompactHead::new));
            self.next_frame += entry.frames.len() as u32;
        }
    }

    /// Lets go of all segments but these, and of their packs. Returns the numbers of the frames that are gone.
    pub(super) fn retain_segments(&mut self, kept: &BTreeSet<Digest>) -> Vec<Range<u32>> {
        self.segments.retain(|digest, _| kept.contains(digest));
        let segments: HashSet<u32> = self.segments.values().copied().collect();
        let (mut starts, mut heads, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (place, (pack, start)) in self.packs.iter().zip(&self.starts).enumerate() {
            if segments.contains(&pack.segment) {
                starts.push(Start { frame: start.frame, head: heads.len() as u32 });
                heads.extend(self.heads(place));
            } else {
                let end = self.starts.get(place + 1).map_or(self.next_frame, |next| next.frame);
                gone.push(start.frame..end);
            }
        }
        self.packs.retain(|pack| segments.contains(&pack.segment));
        (self.starts, self.heads) = (starts, heads);
        gone
    }

    /// The frame with this number.
    pub(super) fn frame(&self, number: u32) -> Option<FramePlace> {
        let (place, number_in_pack) = self.locate(number)?;
        let Pack { digest, salt, .. } = self.packs.get(place)?;
        let (before, rest) = self.heads(place).split_at_checked(number_in_pack)?;
        Some(FramePlace {
            number,
            head: rest.first()?.expand(),
            pack: *digest,
            salt: *salt,
            number_in_pack: number_in_pack as u32,
            offset_bytes: end_bytes(before) as u32,
        })
    }

    /// The pack of a frame.
    pub(super) fn pack_of(&self, frame: u32) -> Option<PackNumber> {
        let (place, _) = self.locate(frame)?;
        self.starts.get(place).map(|start| PackNumber(start.frame))
    }

    /// Whether a frame's pack is lost; nothing where no segment lists it any more.
    pub(super) fn is_lost(&self, frame: u32) -> Option<bool> {
        let (place, _) = self.locate(frame)?;
        self.packs.get(place).map(Pack::is_lost)
    }

    pub(super) fn any_lost(&self) -> bool {
        self.packs.iter().any(Pack::is_lost)
    }

    /// All packs, by number.
    pub(super) fn list(&self) -> Vec<ListedPack> {
        let segments: BTreeMap<u32, Digest> =
            self.segments.iter().map(|(digest, number)| (*number, *digest)).collect();
        let listed = self.packs.iter().zip(&self.starts).enumerate().filter_map(|(place, (pack, start))| {
            Some(ListedPack {
                number: PackNumber(start.frame),
                digest: pack.digest,
                segment: *segments.get(&pack.segment)?,
                kind: self.heads(place).first().map(|head| head.expand().kind),
                end_bytes: end_bytes(self.heads(place)),
                is_lost: pack.is_lost(),
            })
        });
        listed.collect()
    }

    /// Compares the packs whose frames come before `next_frame` with what the store has: their sizes in bytes.
    pub(super) fn mark_missing(&mut self, next_frame: u32, stored: &HashMap<Digest, u64>) {
        for place in 0..self.starts.partition_point(|start| start.frame < next_frame) {
            let end_bytes = end_bytes(self.heads(place));
            if let Some(pack) = self.packs.get_mut(place) {
                pack.is_missing = stored.get(&pack.digest).is_none_or(|&size_bytes| size_bytes < end_bytes);
            }
        }
    }

    pub(super) fn mark_damaged(&mut self, packs: &HashSet<Digest>, segments: &HashSet<Digest>) {
        let segments: HashSet<u32> =
            segments.iter().filter_map(|digest| self.segments.get(digest).copied()).collect();
        for pack in &mut self.packs {
            pack.is_damaged = packs.contains(&pack.digest) || segments.contains(&pack.segment);
        }
    }

    pub(super) fn mark_pack_damaged(&mut self, frame: u32) {
        let pack = self.locate(frame).and_then(|(place, _)| self.packs.get_mut(place));
        if let Some(pack) = pack {
            pack.is_damaged = true;
        }
    }

    /// Where in `packs` the pack of a frame is, and the frame's number in it.
    fn locate(&self, frame: u32) -> Option<(usize, usize)> {
        let place = self.starts.partition_point(|start| start.frame <= frame).checked_sub(1)?;
        let number_in_pack = (frame - self.starts.get(place)?.frame) as usize;
        (number_in_pack < self.heads(place).len()).then_some((place, number_in_pack))
    }

    /// The frames of the pack at this place.
    fn heads(&self, place: usize) -> &[CompactHead] {
        let head_at =
            |place: usize| self.starts.get(place).map_or(self.heads.len(), |start| start.head as usize);
        self.heads.get(head_at(place)..head_at(place + 1)).unwrap_or_default()
    }
}

/// Where the last of these frames ends, the first of which is a pack's first.
fn end_bytes(heads: &[CompactHead]) -> u64 {
    HEADER_BYTES as u64 + heads.iter().map(|head| u64::from(head.expand().stored_bytes)).sum::<u64>()
}
