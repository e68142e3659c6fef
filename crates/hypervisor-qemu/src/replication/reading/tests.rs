use super::*;

#[test]
fn too_many_ranges_are_told_more_coarsely_and_lose_nothing() {
    let block = u64::from(GRANULARITY_BYTES);
    let size_bytes = 1000 * block + 512;
    let mut ranges = Ranges::new(4, size_bytes);
    let written: Vec<ByteRange> = (0..40).map(|number| ByteRange::new(number * 3 * block, block)).collect();
    written.iter().for_each(|&range| ranges.push(range));
    ranges.push(ByteRange::new(1000 * block, 512));
    assert!(ranges.kept.len() <= 4, "{:?}", ranges.kept);
    assert!(ranges.kept.is_sorted_by(|one, next| one.end_bytes() < next.offset_bytes));
    for range in written {
        assert!(ranges.kept.iter().any(|kept| kept.intersection(range) == range), "{range:?}");
    }
    assert_eq!(ranges.kept.last().map(|range| range.end_bytes()), Some(size_bytes));
}

#[test]
fn ranges_that_overlap_become_one() {
    let block = u64::from(GRANULARITY_BYTES);
    let mut ranges = Ranges::new(4, 100 * block);
    for (first, count) in [(1, 2), (1, 1), (2, 3), (5, 1), (9, 1)] {
        ranges.push(ByteRange::new(first * block, count * block));
    }
    assert_eq!(ranges.kept, [ByteRange::new(block, 5 * block), ByteRange::new(9 * block, block)]);
}
