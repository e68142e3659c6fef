//! Index segments without condemned packs: what is left of several is poured together into few.

use std::{collections::BTreeSet, mem};

use crate::{
    Digest, Result,
    index::{ChunkPlace, Segment},
    vault::Shared,
};

/// Segments that come in the place of others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Replacement {
    /// The packs that are left out.
    pub(super) without: BTreeSet<Digest>,
    pub(super) old: BTreeSet<Digest>,
    pub(super) new: Vec<Digest>,
}

/// The segments that list any of these packs.
pub(super) fn listing(shared: &Shared, packs: &BTreeSet<Digest>) -> BTreeSet<Digest> {
    shared
        .index
        .listings()
        .into_iter()
        .filter(|(pack, _)| packs.contains(pack))
        .map(|(_, segment)| segment)
        .collect()
}

impl Replacement {
    /// Writes what the segments list, but for these packs, into new segments.
    pub(super) async fn write(
        shared: &Shared,
        old: BTreeSet<Digest>,
        without: BTreeSet<Digest>,
    ) -> Result<Self> {
        let mut new = Vec::new();
        let mut filling = Segment::default();
        for digest in &old {
            pour(shared.load_segment(digest).await?, &without, &mut filling);
            if filling.chunks.len() >= shared.segment_chunks {
                new.push(shared.store_segment(&mut mem::take(&mut filling)).await?);
            }
        }
        if !filling.packs.is_empty() {
            new.push(shared.store_segment(&mut filling).await?);
        }
        Ok(Self { without, old, new })
    }
}

/// Adds what a segment lists to another, but for these packs and those that are in it already.
fn pour(segment: Segment, without: &BTreeSet<Digest>, into: &mut Segment) {
    let mut next_frame: u32 = into.packs.iter().map(|pack| pack.frames.len() as u32).sum();
    let listed: BTreeSet<Digest> = into.packs.iter().map(|pack| pack.digest).collect();
    // The new number of each frame; none for those that are left out.
    let mut numbers = Vec::new();
    for pack in segment.packs {
        let stays = !without.contains(&pack.digest) && !listed.contains(&pack.digest);
        for _ in &pack.frames {
            numbers.push(stays.then_some(next_frame));
            next_frame += u32::from(stays);
        }
        if stays {
            into.packs.push(pack);
        }
    }
    let moved = segment.chunks.into_iter().filter_map(|(id, place)| {
        let frame = numbers.get(place.frame as usize).copied().flatten()?;
        Some((id, ChunkPlace { frame, ..place }))
    });
    into.chunks.extend(moved);
}
