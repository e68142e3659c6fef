use proptest::prelude::*;

use super::{BLOCK_BYTES, Chunker, CutKey, is_zero};
use crate::{config::Chunking, fixture::noise};

fn chunker(key: u8) -> Chunker {
    let chunking = Chunking { min_bytes: 16 << 10, average_bytes: 64 << 10, max_bytes: 256 << 10 };
    Chunker::new(CutKey::from_bytes(&[key; 32]), chunking)
}

#[test]
fn cut_points_never_move_between_releases() {
    let ends: Vec<usize> =
        chunker(1).cut(&noise(1, 1 << 20)).iter().map(|chunk| chunk.end / BLOCK_BYTES).collect();
    assert_eq!(
        ends,
        [36, 66, 70, 82, 90, 102, 107, 127, 164, 184, 225, 243, 256],
        "a change here makes every vault store everything again"
    );
}

#[test]
fn chunks_have_the_wanted_size_on_average() {
    let lengths: Vec<usize> =
        chunker(1).cut(&noise(2, 64 << 20)).iter().map(ExactSizeIterator::len).collect();
    let average = lengths.iter().sum::<usize>() / lengths.len();
    assert!((56 << 10..96 << 10).contains(&average), "{average}");
    let (_, whole) = lengths.split_last().unwrap();
    assert!(whole.iter().all(|length| (16 << 10..=256 << 10).contains(length)));
}

#[test]
fn cuts_find_back_after_a_change() {
    let mut bytes = noise(3, 8 << 20);
    let before = chunker(1).cut(&bytes);
    bytes[4 << 20..(4 << 20) + 9000].fill(7);
    let after = chunker(1).cut(&bytes);
    let kept = after.iter().filter(|chunk| before.contains(chunk)).count();
    assert!(kept + 8 >= before.len(), "{kept} of {}", before.len());
}

#[test]
fn other_keys_cut_elsewhere() {
    let bytes = noise(4, 8 << 20);
    let (one, two) = (chunker(1).cut(&bytes), chunker(2).cut(&bytes));
    let shared = one.iter().filter(|chunk| two.iter().any(|other| other.end == chunk.end)).count();
    assert!(shared * 4 < one.len(), "{shared} of {}", one.len());
}

proptest! {
    #[test]
    fn chunks_cover_all_but_blocks_of_zeros(blocks in prop::collection::vec(0..4u8, 0..300), tail in 0..8usize) {
        let mut bytes: Vec<u8> = blocks.iter().enumerate().flat_map(|(place, &kind)| match kind {
            0 => vec![0; BLOCK_BYTES],
            1 => { let mut block = vec![0; BLOCK_BYTES]; block[place * 13 % BLOCK_BYTES] = 1; block }
            _ => noise(place as u64, BLOCK_BYTES),
        }).collect();
        bytes.extend(vec![5; tail * 512]);
        let mut next = 0;
        for chunk in chunker(1).cut(&bytes) {
            prop_assert!(chunk.start >= next && !chunk.is_empty() && chunk.start % BLOCK_BYTES == 0);
            prop_assert!(chunk.len() <= 256 << 10);
            prop_assert!(is_zero(&bytes[next..chunk.start]));
            prop_assert!(bytes[chunk.clone()].chunks(BLOCK_BYTES).all(|block| !is_zero(block)));
            next = chunk.end;
        }
        prop_assert!(is_zero(&bytes[next..]));
    }
}
