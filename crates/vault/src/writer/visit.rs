//! Which regions of a disk are visited, and what is to be read there.

use std::collections::{BTreeMap, VecDeque};

use image::{ByteRange, ExtentKind, coalesce};

use super::DiskSource;
use crate::{Error, Result, chunking::BLOCK_BYTES, tree::REGION_BYTES};

/// The part of a disk whose extents and changes are held in memory at once.
const WINDOW_BYTES: u64 = 1 << 30;

/// One region to be looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) region: u64,
    /// Where the region may hold data: sorted, disjoint, on the 4 KiB grid.
    pub(super) data: Vec<ByteRange>,
    /// What may have changed since the parent, in the same form; none where nobody knows.
    pub(super) changed: Option<Vec<ByteRange>>,
}

/// Walks a disk window by window, so that memory does not grow with the disk.
pub(super) struct Visits {
    source: DiskSource,
    next_window_bytes: u64,
    ready: VecDeque<Visit>,
}

impl Visits {
    pub(super) fn new(source: DiskSource) -> Self {
        Self { source, next_window_bytes: 0, ready: VecDeque::new() }
    }

    /// The next region, in the order of the disk. Regions with nothing to do are left out: holes, or without changes.
    pub(super) async fn next(&mut self) -> Result<Option<Visit>> {
        let size_bytes = self.source.image.size_bytes();
        while self.ready.is_empty() && self.next_window_bytes < size_bytes {
            let start_bytes = self.next_window_bytes;
            self.next_window_bytes = start_bytes.saturating_add(WINDOW_BYTES).min(size_bytes);
            self.visit_window(ByteRange::between(start_bytes, self.next_window_bytes)).await?;
        }
        Ok(self.ready.pop_front())
    }

    async fn visit_window(&mut self, window: ByteRange) -> Result<()> {
        let failed = |what: &'static str| {
            move |source| {
                Error::disk(format!("{what} of the disk at {} cannot be read", window.offset_bytes), source)
            }
        };
        let changed = match &self.source.changes {
            Some(changes) => Some(changes.changed_within(window).await.map_err(failed("the changes"))?),
            None => None,
        };
        if changed.as_ref().is_some_and(Vec::is_empty) {
            return Ok(());
        }
        let extents = self.source.image.extents(window).await.map_err(failed("the extents"))?;
        let data =
            extents.into_iter().filter(|extent| extent.kind == ExtentKind::Data).map(|extent| extent.range);
        let mut data = by_region(on_grid(data, window));
        match changed {
            Some(changed) => {
                for (region, changed) in by_region(on_grid(changed.into_iter(), window)) {
                    let data = data.remove(&region).unwrap_or_default();
                    self.push(region, data, Some(changed));
                }
            }
            None => data.into_iter().for_each(|(region, data)| self.push(region, data, None)),
        }
        Ok(())
    }

    fn push(&mut self, region: u64, data: Vec<ByteRange>, changed: Option<Vec<ByteRange>>) {
        self.ready.push_back(Visit { region, data, changed });
    }
}

/// Widens ranges to whole blocks within the window, sorted and disjoint.
fn on_grid(ranges: impl Iterator<Item = ByteRange>, window: ByteRange) -> Vec<ByteRange> {
    let block = BLOCK_BYTES as u64;
    let widen = |range: ByteRange| {
        let start_bytes = range.offset_bytes / block * block;
        ByteRange::between(start_bytes, range.end_bytes().next_multiple_of(block)).intersection(window)
    };
    coalesce(ranges.filter(|range| !range.is_empty()).map(widen).collect())
}

fn by_region(ranges: Vec<ByteRange>) -> BTreeMap<u64, Vec<ByteRange>> {
    let mut regions: BTreeMap<u64, Vec<ByteRange>> = BTreeMap::new();
    for range in ranges {
        let mut start_bytes = range.offset_bytes;
        while start_bytes < range.end_bytes() {
            let region = start_bytes / REGION_BYTES;
            let end_bytes = ((region + 1) * REGION_BYTES).min(range.end_bytes());
            regions.entry(region).or_default().push(ByteRange::between(start_bytes, end_bytes));
            start_bytes = end_bytes;
        }
    }
    regions
}
