use super::{Index, Segment};
use crate::{
    ChunkId, Digest,
    frame::{Encoding, FrameHead, FrameKind},
    keys::{Keys, MasterKey},
    pack::FrameEntry,
};
use model::VaultId;

/// A segment of one pack with `frames` frames of ten chunks each, all of 100 bytes.
fn segment(number: u8, frames: u8) -> Segment {
    let chunk = |frame: u8, place: u8| (id(number, frame, place), 100);
    let entry = |frame| FrameEntry {
        head: FrameHead {
            kind: FrameKind::Data,
            encoding: Encoding::Raw,
            stored_bytes: 1016,
            raw_bytes: 1000,
        },
        chunks: (0..10).map(|place| chunk(frame, place)).collect(),
    };
    let mut segment = Segment::default();
    segment.add_pack(Digest([number; 32]), [number; 32], &(0..frames).map(entry).collect::<Vec<_>>());
    segment.sort();
    segment
}

fn id(pack: u8, frame: u8, place: u8) -> ChunkId {
    ChunkId(*blake3::hash(&[pack, frame, place]).as_bytes())
}

#[test]
fn every_chunk_of_every_segment_is_found_where_it_is() {
    let mut index = Index::default();
    for number in 0..40 {
        index.add(Digest([number; 32]), segment(number, 1 + number % 7));
        index.add(Digest([number; 32]), segment(number, 1 + number % 7));
    }
    assert_eq!(index.packs().count(), 40, "a segment counts once");
    for number in 0..40 {
        for frame in 0..1 + number % 7 {
            for place in 0..10 {
                let found = index.find(&id(number, frame, place)).unwrap();
                let frame_place = index.frame(found.frame).unwrap();
                assert_eq!((found.offset_bytes, found.length_bytes), (u32::from(place) * 100, 100));
                assert_eq!(
                    (frame_place.pack, frame_place.number_in_pack),
                    (Digest([number; 32]), frame.into())
                );
                assert_eq!(frame_place.offset_bytes, 40 + u32::from(frame) * 1016);
            }
        }
    }
    assert!(!index.holds(&id(40, 0, 0)));
    assert!(index.runs.len() < 12, "few runs to search, not {}", index.runs.len());
}

#[test]
fn a_sound_place_wins_over_a_lost_one_and_only_sound_places_count() {
    let mut index = Index::default();
    let twin = |number: u8| {
        let mut twin = segment(1, 1);
        twin.packs[0].digest = Digest([number; 32]);
        twin
    };
    let pack_of = |index: &Index| index.frame(index.find(&id(1, 0, 3)).unwrap().frame).unwrap().pack;
    (1..4).for_each(|number| index.add(Digest([number; 32]), twin(number)));
    let stored = |numbers: &[u8], size_bytes| {
        numbers.iter().map(|number| (Digest([*number; 32]), size_bytes)).collect()
    };
    for sound in 1..4 {
        index.mark_missing(3, &stored(&[sound], 1056));
        assert!(index.holds(&id(1, 0, 3)));
        assert_eq!((pack_of(&index), index.lost_pack_count()), (Digest([sound; 32]), 0));
    }
    index.mark_missing(3, &stored(&[1, 2, 3], 1055));
    assert!(!index.holds(&id(1, 0, 3)), "a byte is missing of each");
    assert_eq!(index.lost_pack_count(), 3);
    assert!(index.find(&id(1, 0, 3)).is_some(), "readers may try");
    index.mark_missing(2, &stored(&[1, 2], 1056));
    index.mark_damaged(&[Digest([1; 32])].into(), &[Digest([2; 32])].into());
    assert_eq!(index.lost_pack_count(), 3, "missing, damaged, and of an unreadable segment");
    index.mark_damaged(&Default::default(), &Default::default());
    assert!(index.holds(&id(1, 0, 3)));
}

#[test]
fn segments_survive_sealing_and_no_other_key_opens_them() {
    let keys = |byte| Keys::full(MasterKey::from_bytes([byte; 32]), VaultId::from_random([1; 10]));
    let bytes = segment(1, 3).encode(&keys(1), [2; 32]);
    assert_eq!(Segment::decode(&keys(1), &bytes).unwrap(), segment(1, 3));
    assert!(Segment::decode(&keys(2), &bytes).is_err());
}
