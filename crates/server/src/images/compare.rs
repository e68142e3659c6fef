//! What an image holds, and what differs between two, a page at a time.

use image::{ByteRange, DiskImage as _, ExtentKind, differences};

use super::OpenImage;
use crate::failure::Result;

/// Ranges on a page, at least; a page ends with the window in which it has so many.
const RANGES_WANTED: usize = 4096;

/// What is looked at between two looks at the page's length, in bytes.
const WINDOW_BYTES: u64 = 256 << 20;

/// What is read for one page at the most, in bytes: an answer should not take minutes.
const READ_MAX_BYTES: u64 = 2 << 30;

/// Ranges of a disk, and where to ask on.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) size_bytes: u64,
    pub(crate) ranges: Vec<ByteRange>,
    /// Where the page ends; none when that is the disk's end.
    pub(crate) next_bytes: Option<u64>,
}

/// The ranges from an offset on that may hold something else than zeros.
pub(crate) async fn extents(image: &OpenImage, offset_bytes: u64) -> Result<Page> {
    let size_bytes = image.image.size_bytes();
    let mut page = Page { size_bytes, ..Page::default() };
    let mut next_bytes = offset_bytes;
    while next_bytes < size_bytes && page.ranges.len() < RANGES_WANTED {
        let window = window(next_bytes, size_bytes);
        let extents = image.image.extents(window).await?;
        page.ranges.extend(extents.iter().filter(|it| it.kind == ExtentKind::Data).map(|it| it.range));
        next_bytes = window.end_bytes();
    }
    Ok(page.end(next_bytes))
}

/// The ranges from an offset on in which two images differ; behind the end of the shorter one, those that are not zero.
/// Of two disks in one vault only what may differ is read.
pub(crate) async fn changes(base: &OpenImage, image: &OpenImage, offset_bytes: u64) -> Result<Page> {
    let size_bytes = base.image.size_bytes().max(image.image.size_bytes());
    let mut page = Page { size_bytes, ..Page::default() };
    let (mut next_bytes, mut read_bytes) = (offset_bytes, 0);
    while next_bytes < size_bytes && page.ranges.len() < RANGES_WANTED && read_bytes < READ_MAX_BYTES {
        let window = window(next_bytes, size_bytes);
        for range in candidates(base, image, window).await? {
            page.ranges.extend(differences(&base.image, &image.image, range).await?);
            read_bytes += range.length_bytes;
        }
        next_bytes = window.end_bytes();
    }
    Ok(page.end(next_bytes))
}

async fn candidates(base: &OpenImage, image: &OpenImage, window: ByteRange) -> Result<Vec<ByteRange>> {
    match (&base.in_vault, &image.in_vault) {
        (Some(base), Some(image)) => Ok(base.may_differ(image, window).await?),
        _ => Ok(vec![window]),
    }
}

fn window(next_bytes: u64, size_bytes: u64) -> ByteRange {
    ByteRange::between(next_bytes, next_bytes.saturating_add(WINDOW_BYTES).min(size_bytes))
}

impl Page {
    fn end(mut self, next_bytes: u64) -> Self {
        self.ranges = image::coalesce(self.ranges);
        self.next_bytes = (next_bytes < self.size_bytes).then_some(next_bytes);
        self
    }
}
