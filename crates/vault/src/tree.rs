//! Disk maps: which chunks a disk is made of, as a persistent tree.
//!
//! A disk is a row of regions of 4 MiB. A leaf lists the chunks of one region; an inner node has up to 64 children.
//! Nodes are chunks themselves, named by what they hold, so two disks share every subtree in which they are equal.

mod builder;
mod node;
mod reader;

pub(crate) use builder::{NodeSink, TreeBuilder};
pub(crate) use node::{ChunkRef, InnerNode, Leaf, References};
pub(crate) use reader::{Located, TreeReader};

use image::ByteRange;
use serde::{Deserialize, Serialize};

use crate::ChunkId;

/// Bytes of a region. No chunk reaches over a region's end.
pub(crate) const REGION_BYTES: u64 = 4 << 20;

/// log2 of the children of an inner node.
pub(crate) const FAN_OUT_BITS: u32 = 6;

/// Children of an inner node.
pub(crate) const FAN_OUT: u64 = 1 << FAN_OUT_BITS;

/// A disk in a vault: its size, and the root of the tree that lists its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DiskMap {
    /// The virtual size in bytes.
    pub size_bytes: u64,
    /// The root; none when the disk is all zeros.
    pub root: Option<ChunkId>,
}

impl DiskMap {
    /// Regions, the last of which may be short.
    pub(crate) fn region_count(&self) -> u64 {
        self.size_bytes.div_ceil(REGION_BYTES)
    }

    /// The root's height above the leaves: the least at which one node covers all regions.
    pub(crate) fn root_level(&self) -> u32 {
        let last_region = self.region_count().saturating_sub(1);
        (u64::BITS - last_region.leading_zeros()).div_ceil(FAN_OUT_BITS)
    }

    /// The bytes of a region.
    pub(crate) fn region_range(&self, region: u64) -> ByteRange {
        let start_bytes = region.saturating_mul(REGION_BYTES).min(self.size_bytes);
        ByteRange::between(start_bytes, start_bytes.saturating_add(REGION_BYTES).min(self.size_bytes))
    }
}

#[cfg(test)]
mod tests;
