//! Indexes in files, and merged ones, against maps in memory.

use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::{PageCache, Pages, merge::Merge, page::PageWriter};
use crate::{
    Directory, DiskNumber, Folder, Sequence,
    extents::{ExtentMap, Layers, Piece, Sectors, Source},
    recent::Recent,
};

fn piece(disk: u32, start: u64, count: u64, sequence: u64) -> Piece {
    let source = match sequence % 3 {
        0 => Source::Zero,
        _ => Source::Block { offset_bytes: sequence as u32, position: (start * 512) as u32 },
    };
    Piece { sectors: Sectors::new(DiskNumber(disk), start, count), sequence: Sequence(sequence), source }
}

fn write(folder: &dyn Folder, name: &str, pieces: impl Iterator<Item = Piece>) -> Pages {
    let (file, owner) = (folder.create(name).unwrap(), [1; 32]);
    let mut writer = PageWriter::new(owner);
    let mut bytes: Vec<u8> = pieces.flat_map(|piece| writer.push(piece)).collect();
    bytes.extend(writer.finish());
    file.write_at(0, &bytes).unwrap();
    Pages { file, name: Arc::from(name), start_bytes: 0, count: writer.count(), owner }
}

/// For each sector, the record that touched it last.
fn painted(
    pieces: impl Iterator<Item = Piece>,
) -> std::collections::BTreeMap<(u32, u64), (Sequence, Source)> {
    let each = |piece: Piece| {
        (piece.sectors.start..piece.sectors.end).map(move |sector| {
            let cut = piece.between(sector, sector + 1);
            ((cut.sectors.disk.0, sector), (cut.sequence, cut.source))
        })
    };
    pieces.flat_map(each).collect()
}

fn random_pieces(count: usize) -> impl Strategy<Value = Vec<(u32, u64, u64)>> {
    prop::collection::vec((0..2u32, 0..2000u64, 1..40u64), 1..count)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn layers_and_merges_agree_with_painting(runs in prop::collection::vec(random_pieces(400), 1..5)) {
        let directory = TempDir::new().unwrap();
        let folder = Directory::open(directory.path()).unwrap();
        let (mut sequence, mut layers, mut expected) = (0, Vec::new(), Vec::new());
        for (number, run) in runs.into_iter().enumerate() {
            let mut map = ExtentMap::default();
            for (disk, start, count) in run {
                sequence += 1;
                map.put(piece(disk, start, count, sequence));
                expected.push(piece(disk, start, count, sequence));
            }
            layers.insert(0, write(&folder, &format!("run-{number}"), map.iter()));
        }
        let expected = painted(expected.into_iter());
        let mut merge = Merge::new(layers.clone()).unwrap();
        let mut merged = Vec::new();
        while let Some(piece) = merge.next().unwrap() {
            merged.push(piece);
        }
        prop_assert!(merged.is_sorted_by_key(|piece| (piece.sectors.disk, piece.sectors.start)));
        prop_assert!(painted(merged.iter().copied()) == expected, "merging");
        let merged = write(&folder, "merged", merged.into_iter());
        let cache: PageCache = Recent::new(16);
        for (disk, start, count) in [(0, 0, 3000), (1, 500, 1), (1, 700, 300), (0, 1999, 2)] {
            let sectors = Sectors::new(DiskNumber(disk), start, count);
            let within = |(place, _): &(&(u32, u64), _)| place.0 == disk && (start..start + count).contains(&place.1);
            let wanted: std::collections::BTreeMap<_, _> =
                expected.iter().filter(within).map(|(place, what)| (*place, *what)).collect();
            for indexes in [&layers[..], std::slice::from_ref(&merged)] {
                let mut found = Layers::new(sectors);
                for index in indexes {
                    found.ask(|gap| index.pieces_in(&cache, gap)).unwrap();
                }
                let (pieces, gaps) = found.finish();
                let gaps: u64 = gaps.iter().map(|gap| gap.end - gap.start).sum();
                prop_assert!(painted(pieces.into_iter()) == wanted, "asking");
                prop_assert_eq!(gaps + wanted.len() as u64, count);
            }
        }
    }
}

#[test]
fn a_piece_longer_than_an_entry_is_several() {
    let directory = TempDir::new().unwrap();
    let folder = Directory::open(directory.path()).unwrap();
    let long = Piece { source: Source::Zero, ..piece(0, 7, 10 << 32, 1) };
    let index = write(&folder, "long", [long].into_iter());
    let entries = index.page(0).unwrap();
    assert_eq!(entries.len(), 11);
    assert_eq!(entries.last().unwrap().sectors.end, long.sectors.end);
}
