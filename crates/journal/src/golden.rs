//! Frozen bytes of every format: what was written once must be read for ever, and is still written the same.
//!
//! The files under `golden/` are never rewritten. A format changes by getting a new version and new files beside them, which
//! `NEW_GOLDEN=1` makes where there is none.

use std::{fs, path::PathBuf};

use model::Timestamp;

use crate::{
    Checkpoint, CheckpointKind, DiskNumber, DiskTable, ErrorKind, Generation, Mark, MarkRecord,
    SegmentNumber, Sequence,
    block::{BlockHead, Encoder, HEAD_BYTES, Place},
    codec,
    extents::{Piece, Sectors, Source},
    fixture::{journal_id, noise, vm},
    index::{
        page::{PAGE_BYTES, PageWriter, decode_page},
        trailer::{IndexTrailer, TRAILER_BYTES},
    },
    mark::{decode_marks, encode_marks},
    record::{Body, RawBlock},
    replica::state::{Edge, State},
    segment::{
        footer::{self, Trailer},
        header::Header,
    },
};

fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if !path.exists() && std::env::var_os("NEW_GOLDEN").is_some() {
        fs::write(&path, written).unwrap();
    }
    fs::read(&path).unwrap_or_else(|error| panic!("golden file {name}: {error}"))
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_microseconds(1_767_225_600_000_000 + second * 1_000_000)
}

fn added() -> Mark {
    Mark::DiskAdded {
        disk: DiskNumber(3),
        vm: vm(),
        name: "virtio-0 / 금고".parse().unwrap(),
        size_bytes: 10 << 30,
    }
}

fn disks() -> DiskTable {
    let mut disks = DiskTable::default();
    disks.apply(&added()).unwrap();
    disks.apply(&Mark::DiskWhole { disk: DiskNumber(3) }).unwrap();
    disks
}

fn marks() -> Vec<MarkRecord> {
    let named =
        Checkpoint { kind: CheckpointKind::Bookmark, vm: Some(vm()), name: "before the update".into() };
    let marks = [
        added(),
        Mark::DiskWhole { disk: DiskNumber(3) },
        Mark::Checkpoint(named),
        Mark::Checkpoint(Checkpoint { kind: CheckpointKind::Crash, vm: None, name: String::new() }),
        Mark::EpochBegun { vm: vm() },
        Mark::DiskResized { disk: DiskNumber(3), size_bytes: 11 << 30 },
        Mark::DiskRemoved { disk: DiskNumber(3) },
    ];
    let place = |(place, mark): (usize, Mark)| MarkRecord {
        sequence: Sequence(100 + place as u64),
        time: time(place as i64),
        mark,
    };
    marks.into_iter().enumerate().map(place).collect()
}

fn header() -> Header {
    Header {
        journal: journal_id(),
        generation: Generation(4),
        number: SegmentNumber(5),
        first: Sequence(1000),
        created_at: time(0),
        disks: disks(),
    }
}

/// Bytes that do not compress: zstd may come to compress better.
fn raw_block() -> RawBlock {
    let mut block = RawBlock::new(Sequence(1000), time(1));
    block.write(time(1), DiskNumber(3), 8, &noise(1, 1024));
    block.zero(time(2), DiskNumber(3), 16, 1 << 33);
    block.mark(time(3), &Mark::EpochBegun { vm: vm() });
    block
}

fn trailer() -> Trailer {
    Trailer {
        blocks_end_bytes: 70_000,
        marks_bytes: 90,
        page_count: 2,
        last: Sequence(2000),
        first_time: time(1),
        last_time: time(9),
        data_bytes: 1 << 20,
        changes_disks: true,
        blocks_digest: [1; 32],
        index_digest: [2; 32],
    }
}

fn pieces() -> [Piece; 2] {
    let piece = |start, count, source| Piece {
        sectors: Sectors::new(DiskNumber(3), start, count),
        sequence: Sequence(1000 + start),
        source,
    };
    [piece(8, 2, Source::Block { offset_bytes: 152, position: 21 }), piece(16, 1 << 20, Source::Zero)]
}

#[test]
fn segment_header() {
    let bytes = header().encode();
    let frozen = golden("segment-header-v1.bin", &bytes);
    assert_eq!(bytes, frozen);
    assert_eq!(Header::decode(&frozen).unwrap().0, header());
    assert_eq!(Header::length(frozen.first_chunk().unwrap()).unwrap(), frozen.len());
}

#[test]
fn segment_trailer() {
    let bytes = trailer().encode();
    assert_eq!(bytes.len(), footer::TRAILER_BYTES);
    let frozen = golden("segment-trailer-v1.bin", &bytes);
    assert_eq!(bytes, frozen);
    assert_eq!(Trailer::decode(&frozen).unwrap(), trailer());
}

#[test]
fn block() {
    let place = Place { header: &[7; 32], offset_bytes: 152 };
    let bytes = Encoder::new().unwrap().encode(&raw_block(), Sequence(998), place).unwrap();
    let frozen = golden("block-v1.bin", &bytes);
    assert_eq!(bytes, frozen);
    let head = BlockHead::decode(&frozen[..HEAD_BYTES]).unwrap();
    let raw = head.open(&frozen, place).unwrap();
    let records = head.records(&raw).unwrap();
    assert_eq!((head.first, head.last(), head.durable), (Sequence(1000), Sequence(1002), Sequence(998)));
    assert_eq!(records[0].body, Body::Write { disk: DiskNumber(3), sector: 8, sectors: 2, position: 21 });
    assert_eq!(records[1].body, Body::Zero { disk: DiskNumber(3), sector: 16, sectors: 1 << 33 });
    assert_eq!((records[2].time, records[2].sequence), (time(3), Sequence(1002)));
    let elsewhere = Place { offset_bytes: 153, ..place };
    assert_eq!(head.open(&frozen, elsewhere).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_compressed_block_is_read() {
    let place = Place { header: &[7; 32], offset_bytes: 152 };
    let mut raw = RawBlock::new(Sequence(1), time(1));
    raw.write(time(1), DiskNumber(3), 8, &[0x55; 4096]);
    let bytes = Encoder::new().unwrap().encode(&raw, Sequence(0), place).unwrap();
    let frozen = golden("block-compressed-v1.bin", &bytes);
    let head = BlockHead::decode(&frozen[..HEAD_BYTES]).unwrap();
    assert!(head.is_compressed && frozen.len() < 512);
    assert_eq!(head.open(&frozen, place).unwrap(), raw.bytes);
}

#[test]
fn records() {
    let raw = raw_block();
    let bytes = [raw.count.to_le_bytes().as_slice(), &raw.bytes].concat();
    assert_eq!(bytes, golden("records-v1.bin", &bytes));
}

#[test]
fn marks_and_lists_of_them() {
    let mut mark = Vec::new();
    added().encode(&mut mark);
    let frozen = golden("mark-v1.bin", &mark);
    assert_eq!(mark, frozen);
    assert_eq!(Mark::decode(&frozen).unwrap(), added());
    let mut list = encode_marks(&marks());
    codec::seal(&mut list);
    let frozen = golden("marks-v1.bin", &list);
    assert_eq!(list, frozen);
    assert_eq!(decode_marks(&frozen[..frozen.len() - 32]).unwrap(), marks());
}

#[test]
fn index_page() {
    let mut writer = PageWriter::new([8; 32]);
    for piece in pieces() {
        assert!(writer.push(piece).is_empty());
    }
    let bytes = writer.finish();
    let frozen = golden("index-page-v1.bin", &bytes);
    assert_eq!(bytes, frozen);
    let page: &[u8; PAGE_BYTES] = frozen.first_chunk().unwrap();
    assert_eq!(decode_page(page, &[8; 32], 0).unwrap(), pieces());
    assert_eq!(decode_page(page, &[8; 32], 1).unwrap_err().kind(), ErrorKind::Corrupt, "of another number");
    assert_eq!(decode_page(page, &[9; 32], 0).unwrap_err().kind(), ErrorKind::Corrupt, "of another index");
}

#[test]
fn index_trailer() {
    let trailer = IndexTrailer {
        journal: journal_id(),
        level: 2,
        page_count: 77,
        first: SegmentNumber(256),
        last: SegmentNumber(511),
        last_sequence: Sequence(123_456),
        made_from: [3; 32],
    };
    let bytes = trailer.encode();
    assert_eq!(bytes.len(), TRAILER_BYTES);
    let frozen = golden("index-trailer-v1.bin", &bytes);
    assert_eq!(bytes, frozen);
    assert_eq!(IndexTrailer::decode(&frozen).unwrap(), trailer);
}

#[test]
fn replica_state() {
    let mut state = State {
        journal: journal_id(),
        generation: Generation(4),
        folded: Edge { segment: SegmentNumber(5), sequence: Sequence(2000) },
        folding: Some(Edge { segment: SegmentNumber(9), sequence: Sequence(4000) }),
        disks: disks(),
        pins: [("drill of monday".to_owned(), Sequence(4100))].into(),
        seeds: [DiskNumber(4), DiskNumber(9)].into(),
    };
    let bytes = state.encode();
    let frozen = golden("replica-state-v2.bin", &bytes);
    assert_eq!(bytes, frozen);
    assert_eq!(State::decode(&frozen).unwrap(), state);
    // One that knows no seeds is still read.
    state.seeds.clear();
    assert_eq!(State::decode(&golden("replica-state-v1.bin", &[])).unwrap(), state);
}

#[test]
fn a_newer_version_is_refused_as_such() {
    let mut newer = header().encode();
    newer[6] = 2;
    assert_eq!(Header::decode(&newer).unwrap_err().kind(), ErrorKind::UnsupportedVersion);
    let mut newer = trailer().encode();
    newer[6] = 2;
    assert_eq!(Trailer::decode(&newer).unwrap_err().kind(), ErrorKind::UnsupportedVersion);
}
