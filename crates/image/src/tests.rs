use proptest::prelude::*;

use crate::{
    ByteRange, ChangeMap, DiskImage, ErrorKind, FaultyImage, FixedChanges, MemoryImage, MemoryTarget,
    PaddedImage, coalesce, conformance, differences,
};

fn pattern() -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    for (place, byte) in bytes.iter_mut().enumerate().filter(|(place, _)| (place >> 15) % 3 == 1) {
        *byte = (place >> 7) as u8 | 1;
    }
    bytes
}

#[tokio::test]
async fn memory_image_conforms() {
    conformance::check_image(&MemoryImage::new(pattern()), &pattern()).await;
}

#[tokio::test]
async fn memory_target_conforms() {
    let target = MemoryTarget::new(1 << 20);
    let expected = conformance::check_target(&target).await;
    assert!(target.into_bytes() == expected);
}

#[tokio::test]
async fn a_faulty_image_fails_when_told() {
    let image = FaultyImage::after_reads(MemoryImage::new(pattern()), 1, ErrorKind::Gone);
    let mut buffer = [0; 512];
    assert!(image.read_at(0, &mut buffer).await.is_ok());
    assert_eq!(image.read_at(0, &mut buffer).await.unwrap_err().kind(), ErrorKind::Gone);
}

#[tokio::test]
async fn fixed_changes_are_cut_to_the_window() {
    let changes =
        FixedChanges::new(vec![ByteRange::new(90, 20), ByteRange::new(0, 10), ByteRange::new(5, 10)]);
    let within = changes.changed_within(ByteRange::new(4, 96)).await.unwrap();
    assert_eq!(within, [ByteRange::new(4, 11), ByteRange::new(90, 10)]);
}

proptest! {
    #[test]
    fn coalesced_ranges_hold_the_same_bytes(pairs: Vec<(u8, u8)>) {
        let ranges: Vec<ByteRange> =
            pairs.iter().map(|&(offset, length)| ByteRange::new(offset.into(), length.into())).collect();
        let joined = coalesce(ranges.clone());
        prop_assert!(joined.windows(2).all(|pair| pair[0].end_bytes() < pair[1].offset_bytes));
        for byte in 0..512 {
            let holds = |ranges: &[ByteRange]| ranges.iter().any(|range| (range.offset_bytes..range.end_bytes()).contains(&byte));
            prop_assert_eq!(holds(&ranges), holds(&joined));
        }
    }
}

#[tokio::test]
async fn a_padded_image_conforms() {
    let bytes: Vec<u8> = (0..3 << 19).map(|place| (place >> 9) as u8).collect();
    let padded = PaddedImage::new(MemoryImage::new(bytes.clone()), 1 << 20);
    conformance::check_image(&padded, &[bytes, vec![0; 1 << 19]].concat()).await;
}

#[tokio::test]
async fn differences_are_told_in_blocks_and_a_missing_end_is_zeros() {
    let one: Vec<u8> = (0..3 << 20).map(|place| (place >> 20) as u8).collect();
    let mut other = one[..5 << 19].to_vec();
    other[4095] = 9;
    other[4096] = 9;
    other[1 << 20] = 9;
    let (one, other) = (MemoryImage::new(one), MemoryImage::new(other));
    let all = differences(&one, &other, ByteRange::new(0, 3 << 20)).await.unwrap();
    let expected = [ByteRange::new(0, 8192), ByteRange::new(1 << 20, 4096), ByteRange::new(5 << 19, 1 << 19)];
    assert_eq!(all, expected);
    let part = differences(&other, &one, ByteRange::new(4096, 8192)).await.unwrap();
    assert_eq!(part, [ByteRange::new(4096, 4096)]);
    assert!(differences(&one, &one, ByteRange::new(0, 3 << 20)).await.unwrap().is_empty());
    let beyond = differences(&one, &other, ByteRange::new(0, 4 << 20)).await.unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::OutOfBounds);
}
