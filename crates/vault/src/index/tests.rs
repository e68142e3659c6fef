mod model;

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use super::{Index, Marks, Ordinal, Segment, table::Table};
use crate::{
    ChunkId, Digest, ErrorKind,
    frame::{Encoding, FrameHead, FrameKind},
    keys::{Keys, MasterKey},
    pack::FrameEntry,
    sync,
};
use ::model::VaultId;

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

fn digest(number: u8) -> Digest {
    Digest([number; 32])
}

/// An index that writes every table of `file_records` records or more into a file.
fn index_in(directory: &Path, file_records: usize) -> Index {
    let index = Index::with_file_records(file_records);
    index.use_directory(directory);
    index
}

fn pack_of(index: &Index, id: &ChunkId) -> Option<Digest> {
    index.find(id).unwrap().map(|(_, frame)| frame.pack)
}

/// Calls `change` with every table that is in a file.
fn for_each_file(index: &Index, change: impl Fn(&super::file_table::FileTable)) {
    let mut files = 0;
    for table in sync::read(&index.state).tables() {
        if let Table::File(table) = &*table {
            change(table);
            files += 1;
        }
    }
    assert!(files > 0, "nothing is in a file");
}

#[test]
fn every_chunk_of_every_segment_is_found_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    for index in [Index::default(), index_in(directory.path(), 1), index_in(directory.path(), 300)] {
        for number in 0..40 {
            index.add(digest(number), segment(number, 1 + number % 7)).unwrap();
            index.add(digest(number), segment(number, 1 + number % 7)).unwrap();
        }
        assert_eq!(index.packs().len(), 40, "a segment counts once");
        for number in 0..40 {
            for frame in 0..1 + number % 7 {
                for place in 0..10 {
                    let (found, frame_place) = index.find(&id(number, frame, place)).unwrap().unwrap();
                    assert_eq!((found.offset_bytes, found.length_bytes), (u32::from(place) * 100, 100));
                    assert_eq!(
                        (frame_place.pack, frame_place.number_in_pack),
                        (digest(number), frame.into())
                    );
                    assert_eq!(frame_place.offset_bytes, 40 + u32::from(frame) * 1016);
                }
            }
        }
        assert!(!index.holds(&id(40, 0, 0)).unwrap());
        let tables = sync::read(&index.state).tables.len();
        assert!(tables < 12, "few tables to search, not {tables}");
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "the files have no names");
}

#[test]
fn a_sound_place_wins_over_a_lost_one_and_only_sound_places_count() {
    let index = Index::default();
    let twin = |number: u8| {
        let mut twin = segment(1, 1);
        twin.packs[0].digest = digest(number);
        twin
    };
    (1..4).for_each(|number| index.add(digest(number), twin(number)).unwrap());
    let wanted = id(1, 0, 3);
    let stored =
        |numbers: &[u8], size_bytes| numbers.iter().map(|number| (digest(*number), size_bytes)).collect();
    for sound in 1..4 {
        index.mark_missing(3, &stored(&[sound], 1056));
        assert!(index.holds(&wanted).unwrap());
        assert_eq!((pack_of(&index, &wanted), index.lost_pack_count().unwrap()), (Some(digest(sound)), 0));
    }
    index.mark_missing(3, &stored(&[1, 2, 3], 1055));
    assert!(!index.holds(&wanted).unwrap(), "a byte is missing of each");
    assert_eq!(index.lost_pack_count().unwrap(), 3);
    assert!(index.find(&wanted).unwrap().is_some(), "readers may try");
    index.mark_missing(2, &stored(&[1, 2], 1056));
    index.mark_damaged(&[digest(1)].into(), &[digest(2)].into());
    assert_eq!(index.lost_pack_count().unwrap(), 3, "missing, damaged, and of an unreadable segment");
    index.mark_damaged(&Default::default(), &Default::default());
    assert!(index.holds(&wanted).unwrap());
}

#[test]
fn a_pack_that_another_segment_lists_too_survives_the_first() {
    let index = Index::default();
    index.add(digest(1), segment(7, 2)).unwrap();
    index.add(digest(2), segment(7, 2)).unwrap();
    let first = index.packs();
    index.retain_segments(&[digest(2)].into()).unwrap();
    let (place, frame) = index.find(&id(7, 1, 0)).unwrap().unwrap();
    assert_eq!((frame.pack, place.frame), (digest(7), 3), "numbers stay");
    assert_eq!(index.packs(), first[1..]);
    assert_eq!(index.pack_of(3), Some(first[1].number));
    assert!(index.frame(1).is_none() && index.pack_of(1).is_none());
    index.add(digest(1), segment(7, 2)).unwrap();
    assert_eq!(index.find(&id(7, 0, 0)).unwrap().unwrap().0.frame, 4, "numbers are never used again");
    index.retain_segments(&BTreeSet::new()).unwrap();
    assert!(!index.holds(&id(7, 0, 0)).unwrap());
    assert!(index.packs().is_empty());
    assert!(sync::read(&index.state).tables.is_empty(), "what is let go of takes no memory");
}

#[test]
fn what_is_marked_in_a_frozen_index_stays_marked() {
    let directory = tempfile::tempdir().unwrap();
    let index = Arc::new(index_in(directory.path(), 50));
    (0..4).for_each(|number| index.add(digest(number), segment(number, 7)).unwrap());
    let frozen = index.freeze();
    let mut marks = Marks::default();
    for place in 0..10 {
        let ordinal = frozen.ordinal(&id(1, 2, place)).unwrap().unwrap();
        assert!(marks.insert(ordinal) && !marks.insert(ordinal));
    }
    (4..9).for_each(|number| index.add(digest(number), segment(number, 7)).unwrap());
    marks.insert(frozen.ordinal(&id(8, 6, 9)).unwrap().unwrap());
    index.retain_segments(&(1..9).map(digest).collect()).unwrap();
    let mut seen = Vec::new();
    let mut marked = BTreeSet::new();
    frozen
        .for_each(|ordinal, id, place, pack| {
            assert_eq!(index.pack_of(place.frame), Some(pack));
            seen.push(ordinal);
            assert_eq!(frozen.ordinal(&id)?, Some(ordinal));
            assert_eq!(index.find(&id)?.unwrap().0, place);
            marked.extend(marks.contains(ordinal).then_some(id));
            Ok(())
        })
        .unwrap();
    assert_eq!(seen.len(), 8 * 70);
    assert!(seen.is_sorted_by(|a, b| a < b));
    assert_eq!(marked, (0..10).map(|place| id(1, 2, place)).chain([id(8, 6, 9)]).collect());
    assert_eq!(marks.count(), 11);
    assert!(!marks.contains(Ordinal(u64::MAX)));
    let tables = sync::read(&index.state).tables.len();
    drop(frozen);
    index.add(digest(9), segment(9, 1)).unwrap();
    assert!(sync::read(&index.state).tables.len() < tables, "merging goes on");
}

#[test]
fn rot_and_lost_bytes_of_a_file_are_errors_and_never_answers() {
    let directory = tempfile::tempdir().unwrap();
    // Somewhere among the records, in the page's number, in its checksum.
    for offset_bytes in [0, 4096 + 1000, 4088, 4096] {
        let index = index_in(directory.path(), 100);
        index.add(digest(1), segment(1, 20)).unwrap();
        for_each_file(&index, |file| file.rot(offset_bytes));
        let found: Vec<_> = (0..20).map(|frame| index.find(&id(1, frame, 0))).collect();
        let errors: Vec<_> = found.into_iter().filter_map(Result::err).collect();
        assert!(!errors.is_empty());
        for error in &errors {
            assert_eq!(error.kind(), ErrorKind::Unreachable, "no damage of the vault");
            assert!(error.guidance().unwrap().contains(&directory.path().display().to_string()), "{error}");
        }
        assert!(index.add(digest(2), segment(2, 20)).is_err(), "it is not merged either");
        assert!(!index.holds_segment(&digest(2)));
        assert!(Arc::new(index).freeze().for_each(|_, _, _, _| Ok(())).is_err());
    }
    let index = index_in(directory.path(), 100);
    index.add(digest(1), segment(1, 20)).unwrap();
    for_each_file(&index, super::file_table::FileTable::truncate);
    index.mark_pack_damaged(0);
    assert!(index.holds(&id(1, 0, 0)).is_err() && index.lost_pack_count().is_err());
    assert!(!index.holds(&id(9, 0, 0)).unwrap(), "of what was never in, nothing is read");
}

#[test]
fn a_directory_that_cannot_be_used_is_an_error_that_names_it_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let blocked = directory.path().join("index");
    fs::write(&blocked, "a file is here").unwrap();
    let index = index_in(&blocked, 50);
    index.add(digest(1), segment(1, 4)).unwrap();
    let error = index.add(digest(2), segment(2, 4)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.guidance().unwrap().contains(blocked.to_str().unwrap()));
    assert!(!index.holds_segment(&digest(2)) && !index.holds(&id(2, 0, 0)).unwrap());
    assert!(index.holds(&id(1, 0, 0)).unwrap());
    fs::remove_file(&blocked).unwrap();
    index.add(digest(2), segment(2, 4)).unwrap();
    assert!(index.holds(&id(1, 0, 0)).unwrap() && index.holds(&id(2, 0, 0)).unwrap());
    let full = super::scratch::Scratch::in_directory(&blocked)
        .error("a file cannot be written in", std::io::ErrorKind::StorageFull.into());
    assert_eq!(full.kind(), ErrorKind::NoSpace);
}

#[test]
fn segments_survive_sealing_and_no_other_key_opens_them() {
    let keys = |byte| Keys::full(MasterKey::from_bytes([byte; 32]), VaultId::from_random([1; 10]));
    let bytes = segment(1, 3).encode(&keys(1), [2; 32]);
    assert_eq!(Segment::decode(&keys(1), &bytes).unwrap(), segment(1, 3));
    assert!(Segment::decode(&keys(2), &bytes).is_err());
}
