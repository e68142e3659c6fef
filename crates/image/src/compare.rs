//! What differs between two images.

use crate::{ByteRange, DiskImage, Extent, ExtentKind, Result, coalesce};

/// The unit in which differences are told, in bytes.
const BLOCK_SIZE_BYTES: u64 = 4096;

/// What is read of each image at once, in bytes.
const WINDOW_BYTES: u64 = 1 << 20;

/// The blocks of 4 KiB of a range, joined, in which two images differ. What lies behind the end of the shorter one is
/// compared with zeros. Where both are known to be zero nothing is read.
///
/// # Errors
/// Those of reading; [`crate::ErrorKind::OutOfBounds`] for a range that reaches past both ends.
pub async fn differences(
    one: &dyn DiskImage,
    other: &dyn DiskImage,
    range: ByteRange,
) -> Result<Vec<ByteRange>> {
    range.check_within(one.size_bytes().max(other.size_bytes()))?;
    let mut differing = Vec::new();
    for window in windows(range) {
        if is_zero(one, window).await? && is_zero(other, window).await? {
            continue;
        }
        let (left, right) = (read(one, window).await?, read(other, window).await?);
        if left == right {
            continue;
        }
        let blocks = left.chunks(BLOCK_SIZE_BYTES as usize).zip(right.chunks(BLOCK_SIZE_BYTES as usize));
        let differ = blocks.enumerate().filter(|(_, (left, right))| left != right);
        differing.extend(differ.map(|(place, (block, _))| {
            ByteRange::new(window.offset_bytes + place as u64 * BLOCK_SIZE_BYTES, block.len() as u64)
        }));
    }
    Ok(coalesce(differing))
}

/// Cuts a range where windows end, so that blocks lie the same whatever range is asked for.
fn windows(range: ByteRange) -> impl Iterator<Item = ByteRange> {
    let first = range.offset_bytes / WINDOW_BYTES;
    let last = range.end_bytes().div_ceil(WINDOW_BYTES);
    (first..last).map(move |place| ByteRange::new(place * WINDOW_BYTES, WINDOW_BYTES).intersection(range))
}

/// The part of a range that an image has.
fn within(image: &dyn DiskImage, range: ByteRange) -> ByteRange {
    range.intersection(ByteRange::new(0, image.size_bytes()))
}

async fn is_zero(image: &dyn DiskImage, window: ByteRange) -> Result<bool> {
    let there = within(image, window);
    if there.is_empty() {
        return Ok(true);
    }
    let extents = image.extents(there).await?;
    Ok(extents.iter().all(|Extent { kind, .. }| *kind == ExtentKind::Zero))
}

async fn read(image: &dyn DiskImage, window: ByteRange) -> Result<Vec<u8>> {
    let mut bytes = vec![0; window.length_bytes as usize];
    let there = within(image, window);
    if !there.is_empty() {
        image.read_at(there.offset_bytes, &mut bytes[..there.length_bytes as usize]).await?;
    }
    Ok(bytes)
}
