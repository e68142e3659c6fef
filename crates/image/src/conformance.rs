//! The suites that every implementation of the seam runs in its own tests.

use crate::{ByteRange, DiskImage, DiskTarget, ErrorKind, ExtentKind};

/// Checks the contract of [`DiskImage`] against the bytes that the image must show.
///
/// # Panics
/// When the image breaks its contract.
pub async fn check_image(image: &dyn DiskImage, expected: &[u8]) {
    let size_bytes = expected.len() as u64;
    assert_eq!(image.size_bytes(), size_bytes, "the size is the number of bytes");

    let mut whole = vec![0xaa; expected.len()];
    image.read_at(0, &mut whole).await.expect("the whole image reads at once");
    assert!(whole == expected, "the image shows the expected bytes");

    for (offset_bytes, length) in odd_ranges(size_bytes) {
        let mut part = vec![0xaa; length];
        image.read_at(offset_bytes, &mut part).await.expect("any range reads");
        let start = offset_bytes as usize;
        assert!(part == expected[start..start + length], "{length} bytes at {offset_bytes}");
    }

    for (offset_bytes, length) in odd_ranges(size_bytes) {
        let range = ByteRange::new(offset_bytes, length as u64);
        let mut next_bytes = range.offset_bytes;
        for extent in image.extents(range).await.expect("any range has extents") {
            assert_eq!(extent.range.offset_bytes, next_bytes, "extents leave no gap and never overlap");
            assert!(!extent.range.is_empty(), "no extent is empty");
            next_bytes = extent.range.end_bytes();
            let bytes = &expected[extent.range.offset_bytes as usize..next_bytes as usize];
            assert!(
                extent.kind == ExtentKind::Data || bytes.iter().all(|&byte| byte == 0),
                "zero extents read as zero"
            );
        }
        assert_eq!(next_bytes, range.end_bytes(), "extents cover the range exactly");
    }

    let beyond = image.read_at(size_bytes, &mut [0; 512]).await.expect_err("a read past the end fails");
    assert_eq!(beyond.kind(), ErrorKind::OutOfBounds);
    let beyond = image.extents(ByteRange::new(0, size_bytes + 512)).await.expect_err("so do extents");
    assert_eq!(beyond.kind(), ErrorKind::OutOfBounds);
}

/// Writes to a fresh target of at least 1 MiB by every method of [`DiskTarget`] and returns the bytes that it must then
/// show; the caller reads them back in its own way.
///
/// # Panics
/// When the target breaks its contract.
pub async fn check_target(target: &dyn DiskTarget) -> Vec<u8> {
    let size_bytes = target.size_bytes();
    let mut expected = vec![0; size_bytes as usize];
    if !target.starts_zeroed() {
        target.write_zeroes(ByteRange::new(0, size_bytes)).await.expect("the whole target can be zeroed");
    }
    for (step, (offset_bytes, length)) in odd_ranges(size_bytes).into_iter().enumerate() {
        let data: Vec<u8> = (0..length).map(|place| (place * 31 + step * 7 + 1) as u8).collect();
        target.write_at(offset_bytes, &data).await.expect("any range can be written");
        expected[offset_bytes as usize..offset_bytes as usize + length].copy_from_slice(&data);
    }
    let hole = ByteRange::new(128 << 10, 256 << 10);
    target.write_zeroes(hole).await.expect("any range can be zeroed");
    expected[hole.offset_bytes as usize..hole.end_bytes() as usize].fill(0);
    target.flush().await.expect("the target flushes");

    let beyond = target.write_at(size_bytes, &[1; 512]).await.expect_err("a write past the end fails");
    assert_eq!(beyond.kind(), ErrorKind::OutOfBounds);
    expected
}

fn odd_ranges(size_bytes: u64) -> Vec<(u64, usize)> {
    let candidates =
        [(0, 512), (512, 4096), (4096 - 512, 1024), (65_536 - 4096, 135_168), (300_032, 513 * 512)];
    let mut ranges: Vec<(u64, usize)> =
        candidates.into_iter().filter(|&(offset, length)| offset + length as u64 <= size_bytes).collect();
    ranges.push((size_bytes - 512, 512));
    ranges
}
