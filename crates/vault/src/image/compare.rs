//! Where two disks of a vault may differ, by their maps alone.

use image::{ByteRange, coalesce};

use super::VaultImage;
use crate::{
    Result,
    tree::{FAN_OUT, FAN_OUT_BITS, REGION_BYTES},
};

impl VaultImage {
    /// The regions of a range in which another disk may hold something else, joined. What is left out is the same in both:
    /// subtrees that they share are not even read. All of the range for disks of which one is many times the other's size.
    ///
    /// # Errors
    /// Damage to either map, and whatever keeps the store from being read.
    pub async fn may_differ(&self, other: &Self, range: ByteRange) -> Result<Vec<ByteRange>> {
        let (ours, theirs) = (&self.tree, &other.tree);
        let root_level = ours.map().root_level();
        if theirs.map().root_level() != root_level {
            return Ok(vec![range]);
        }
        let mut differing = Vec::new();
        let mut open = vec![(root_level, 0_u64)];
        while let Some((level, place)) = open.pop() {
            let span_bytes = REGION_BYTES.checked_shl(level * FAN_OUT_BITS).unwrap_or(u64::MAX);
            let start_bytes = place.saturating_mul(span_bytes);
            let covered =
                ByteRange::between(start_bytes, start_bytes.saturating_add(span_bytes)).intersection(range);
            if covered.is_empty() || ours.node_id(level, place).await? == theirs.node_id(level, place).await?
            {
                continue;
            }
            match level {
                0 => differing.push(covered),
                _ => open.extend((0..FAN_OUT).map(|child| (level - 1, place * FAN_OUT + child))),
            }
        }
        Ok(coalesce(differing))
    }
}
