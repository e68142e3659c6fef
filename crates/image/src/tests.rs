use proptest::prelude::*;

use crate::{
    ByteRange, ChangeMap, DiskImage, ErrorKind, FaultyImage, FixedChanges, MemoryImage, MemoryTarget,
    coalesce, conformance,
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
