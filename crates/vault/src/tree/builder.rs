//! Builds a disk map from front to back, in memory for one path from root to leaf.

use super::{DiskMap, FAN_OUT, FAN_OUT_BITS, InnerNode, Leaf};
use crate::{ChunkId, Result};

/// Takes the nodes of a tree that is being built, and names them.
pub(crate) trait NodeSink {
    /// Stores the node with these bytes.
    fn put_node(&mut self, bytes: &[u8]) -> Result<ChunkId>;
}

/// A disk map that is being built. Nodes are put in the order of the disk; what is left out is zeros.
#[derive(Debug)]
pub(crate) struct TreeBuilder {
    map: DiskMap,
    /// The node being filled at each level from 1 up to the root's, and its place in its level.
    open: Vec<Option<(u64, InnerNode)>>,
}

impl TreeBuilder {
    pub(crate) fn new(size_bytes: u64) -> Self {
        let map = DiskMap { size_bytes, root: None };
        Self { map, open: vec![None; map.root_level() as usize] }
    }

    /// Puts a region.
    pub(crate) fn put_leaf(&mut self, region: u64, leaf: &Leaf, sink: &mut impl NodeSink) -> Result<()> {
        if leaf.chunks.is_empty() {
            return Ok(());
        }
        let id = sink.put_node(&leaf.encode())?;
        self.put_subtree(0, region, id, sink)
    }

    /// Puts a whole subtree that is stored already: the node at `place`, counted among the nodes of its level.
    pub(crate) fn put_subtree(
        &mut self,
        level: u32,
        place: u64,
        id: ChunkId,
        sink: &mut impl NodeSink,
    ) -> Result<()> {
        let parent_place = place >> FAN_OUT_BITS;
        // What is open further down lies before this subtree and is complete.
        (0..level.min(self.open.len() as u32)).try_for_each(|lower| self.close(lower, sink))?;
        if level as usize >= self.open.len() {
            self.map.root = Some(id);
            return Ok(());
        }
        let slot = &mut self.open[level as usize];
        if slot.as_ref().is_some_and(|(open_place, _)| *open_place != parent_place) {
            self.close(level, sink)?;
        }
        let (_, node) =
            self.open[level as usize].get_or_insert_with(|| (parent_place, InnerNode::new(level as u8 + 1)));
        node.children[(place % FAN_OUT) as usize] = Some(id);
        Ok(())
    }

    /// The finished map.
    pub(crate) fn finish(mut self, sink: &mut impl NodeSink) -> Result<DiskMap> {
        for level in 0..self.open.len() {
            self.close(level as u32, sink)?;
        }
        Ok(self.map)
    }

    /// Stores the node that is open above `level` and puts it where it belongs.
    fn close(&mut self, level: u32, sink: &mut impl NodeSink) -> Result<()> {
        let Some((place, node)) = self.open[level as usize].take() else { return Ok(()) };
        debug_assert!(!node.is_empty(), "a node is opened for a child");
        let id = sink.put_node(&node.encode())?;
        self.put_subtree(level + 1, place, id, sink)
    }
}
