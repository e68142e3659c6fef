//! The index against a model of it: a map from chunk to frames.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use proptest::prelude::*;

use super::{digest, index_in};
use crate::{
    ChunkId, Digest,
    frame::{Encoding, FrameHead, FrameKind},
    index::{ChunkPlace, Frozen, Index, Segment},
    pack::FrameEntry,
};

/// Chunks that exist at all: few, so that most are in several packs.
const CHUNKS: u16 = 400;

#[derive(Debug, Clone)]
enum Step {
    /// A segment with packs of frames of chunks.
    Add(Vec<Vec<Vec<u16>>>),
    Retain(BTreeSet<u8>),
    /// The packs that are in the store.
    Missing(BTreeSet<u8>),
    Damaged(u8),
    Freeze,
    Thaw,
}

fn step() -> impl Strategy<Value = Step> {
    let frame = prop::collection::vec(0..CHUNKS, 1..30);
    let pack = prop::collection::vec(frame, 0..4);
    let numbers = || prop::collection::btree_set(0..40u8, 20..40);
    prop_oneof![
        8 => prop::collection::vec(pack, 0..4).prop_map(Step::Add),
        2 => numbers().prop_map(Step::Retain),
        2 => numbers().prop_map(Step::Missing),
        1 => (0..40u8).prop_map(Step::Damaged),
        1 => Just(Step::Freeze),
        1 => Just(Step::Thaw),
    ]
}

/// Ids of which many begin alike, as those of digests never do.
fn id(chunk: u16) -> ChunkId {
    let mut id = *blake3::hash(&chunk.to_le_bytes()).as_bytes();
    if chunk.is_multiple_of(4) {
        id[..8].fill(7);
    }
    ChunkId(id)
}

#[derive(Debug, Default)]
struct Model {
    /// By frame number: the frame's segment and pack.
    frames: BTreeMap<u32, (u8, u8)>,
    next_frame: u32,
    /// By chunk and frame number.
    places: BTreeMap<(ChunkId, u32), ChunkPlace>,
    lost: BTreeSet<u8>,
}

impl Model {
    fn add(&mut self, number: u8, segment: &Segment) {
        let first = self.next_frame;
        for pack in &segment.packs {
            for _ in &pack.frames {
                self.frames.insert(self.next_frame, (number, pack.digest.0[0]));
                self.next_frame += 1;
            }
        }
        for (id, place) in &segment.chunks {
            let frame = first + place.frame;
            self.places.insert((*id, frame), ChunkPlace { frame, ..*place });
        }
    }

    fn retain(&mut self, kept: &BTreeSet<u8>) {
        self.frames.retain(|_, (segment, _)| kept.contains(segment));
        self.places.retain(|(_, frame), _| self.frames.contains_key(frame));
    }

    fn is_lost(&self, frame: u32) -> bool {
        self.lost.contains(&self.frames[&frame].1)
    }

    fn choose(&self, id: ChunkId) -> Option<(ChunkPlace, bool)> {
        let places = self.places.range((id, 0)..=(id, u32::MAX)).map(|(_, place)| *place);
        let ranked = places.map(|place| (!self.is_lost(place.frame), place.frame, place));
        let best = ranked.max_by_key(|(is_sound, frame, _)| (*is_sound, *frame));
        best.map(|(is_sound, _, place)| (place, !is_sound))
    }
}

fn segment_of(number: u8, packs: &[Vec<Vec<u16>>]) -> Segment {
    let mut segment = Segment::default();
    for (place, frames) in packs.iter().enumerate() {
        let entries: Vec<FrameEntry> = frames.iter().map(|chunks| entry(chunks)).collect();
        // Packs that come again in later segments, as after a collection.
        let pack = (number + place as u8) % 40;
        segment.add_pack(digest(pack), [pack; 32], &entries);
    }
    segment.sort();
    segment
}

fn entry(chunks: &[u16]) -> FrameEntry {
    let chunks: BTreeSet<u16> = chunks.iter().copied().collect();
    let raw_bytes = 64 * chunks.len() as u32;
    FrameEntry {
        head: FrameHead {
            kind: FrameKind::Tree,
            encoding: Encoding::Zstd,
            stored_bytes: raw_bytes - 1,
            raw_bytes,
        },
        chunks: chunks.into_iter().map(|chunk| (id(chunk), 64)).collect(),
    }
}

fn check(index: &Arc<Index>, model: &Model) {
    for chunk in 0..=CHUNKS {
        let expected = model.choose(id(chunk));
        let found = index.find(&id(chunk)).unwrap();
        assert_eq!(found.map(|(place, _)| place), expected.map(|(place, _)| place));
        assert_eq!(index.holds(&id(chunk)).unwrap(), expected.is_some_and(|(_, is_lost)| !is_lost));
        if let Some((place, frame)) = found {
            assert_eq!(frame.number, place.frame);
            assert_eq!(frame.pack, digest(model.frames[&place.frame].1));
            assert_eq!((frame.head.kind, frame.head.encoding), (FrameKind::Tree, Encoding::Zstd));
            assert_eq!(frame.head.stored_bytes, frame.head.raw_bytes - 1);
        }
    }
    let lonely: BTreeSet<_> = model
        .places
        .iter()
        .filter(|((id, frame), _)| model.is_lost(*frame) && model.choose(*id).unwrap().1)
        .map(|((_, frame), _)| index.pack_of(*frame).unwrap())
        .collect();
    assert_eq!(index.lost_pack_count().unwrap(), lonely.len());
    let frozen = index.freeze();
    let mut shown = BTreeMap::new();
    let mut chosen = BTreeSet::new();
    let show = |ordinal, id, place: ChunkPlace, _| {
        shown.insert((id, place.frame), place);
        chosen.extend((frozen.ordinal(&id)? == Some(ordinal)).then_some((id, place.frame)));
        Ok(())
    };
    frozen.for_each(show).unwrap();
    assert_eq!(shown, model.places);
    let ids: BTreeSet<ChunkId> = shown.keys().map(|(id, _)| *id).collect();
    let expected = ids.into_iter().map(|id| (id, model.choose(id).unwrap().0.frame)).collect();
    assert_eq!(chosen, expected, "exactly one record of each chunk");
}

fn run(index: Index, steps: Vec<Step>) {
    let index = Arc::new(index);
    let mut model = Model::default();
    let mut frozen: Option<(Frozen, Vec<_>)> = None;
    for (number, step) in steps.into_iter().enumerate() {
        let number = number as u8;
        match step {
            Step::Add(packs) => {
                let segment = segment_of(number, &packs);
                // Packs that are new to the index are taken for sound, whatever else is known of them.
                model.lost.retain(|pack| segment.packs.iter().all(|entry| entry.digest != digest(*pack)));
                let sound = all_but(&model.lost);
                model.add(number, &segment);
                index.add(digest(number), segment).unwrap();
                index.mark_damaged(&Default::default(), &Default::default());
                index.mark_missing(index.next_frame(), &sound);
            }
            Step::Retain(kept) => {
                index.retain_segments(&kept.iter().map(|number| digest(*number)).collect()).unwrap();
                model.retain(&kept);
            }
            Step::Missing(stored) => {
                model.lost = (0..40).filter(|pack| !stored.contains(pack)).collect();
                index.mark_damaged(&Default::default(), &Default::default());
                index.mark_missing(index.next_frame(), &all_but(&model.lost));
            }
            Step::Damaged(pack) => {
                model.lost.insert(pack);
                let damaged = model.lost.iter().map(|pack| digest(*pack)).collect();
                index.mark_damaged(&damaged, &Default::default());
            }
            Step::Freeze => {
                let guard = index.freeze();
                let chosen = |chunk| Some((model.choose(id(chunk))?.0, guard.ordinal(&id(chunk)).unwrap()?));
                let chosen = (0..CHUNKS).filter_map(chosen).collect();
                frozen = Some((guard, chosen));
            }
            Step::Thaw => frozen = None,
        }
        check(&index, &model);
        if let Some((guard, then)) = &frozen {
            guard
                .for_each(|ordinal, id, place, _| {
                    let before = then.iter().find(|(_, known)| *known == ordinal);
                    assert!(before.is_none_or(|(known, _)| *known == place), "{id} has another number now");
                    Ok(())
                })
                .unwrap();
        }
    }
}

fn all_but(lost: &BTreeSet<u8>) -> HashMap<Digest, u64> {
    (0..40).filter(|pack| !lost.contains(pack)).map(|pack| (digest(pack), u64::MAX)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_index_answers_as_its_model(steps in prop::collection::vec(step(), 1..40), file_records in 1..300usize) {
        let directory = tempfile::tempdir().unwrap();
        run(Index::default(), steps.clone());
        run(index_in(directory.path(), file_records), steps);
    }
}
