//! What changed on a disk since an earlier image of it.

use async_trait::async_trait;

use crate::{ByteRange, Result};

/// A superset of the bytes that differ from an earlier image of the same disk and size.
#[async_trait]
pub trait ChangeMap: Send + Sync {
    /// The changed ranges within `window`: sorted, disjoint, cut to the window. Ask for windows of a few GiB at most.
    async fn changed_within(&self, window: ByteRange) -> Result<Vec<ByteRange>>;
}

/// A change map held in memory.
#[derive(Debug, Clone, Default)]
pub struct FixedChanges {
    ranges: Vec<ByteRange>,
}

impl FixedChanges {
    /// The map with these ranges, in any order, overlapping or not.
    #[must_use]
    pub fn new(ranges: Vec<ByteRange>) -> Self {
        Self { ranges: crate::coalesce(ranges) }
    }
}

#[async_trait]
impl ChangeMap for FixedChanges {
    async fn changed_within(&self, window: ByteRange) -> Result<Vec<ByteRange>> {
        let cut = self.ranges.iter().map(|range| range.intersection(window));
        Ok(cut.filter(|range| !range.is_empty()).collect())
    }
}
