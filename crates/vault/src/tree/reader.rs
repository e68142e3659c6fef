//! Walks a disk map that is in the vault.

use std::sync::{Arc, Mutex, PoisonError};

use image::ByteRange;

use super::{ChunkRef, DiskMap, FAN_OUT_BITS, InnerNode, Leaf};
use crate::{ChunkId, Error, Result, frame::FrameKind, lru::Lru, vault::Shared};

/// Nodes that are kept at hand: those of about 1.5 GiB of a disk, for reads all over it.
const NODES_KEPT_BYTES: usize = 1 << 20;

/// What is at a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Located {
    /// A leaf.
    Leaf(ChunkId),
    /// Zeros, up to this region.
    HoleUntil(u64),
}

#[derive(Debug, Clone)]
enum Node {
    Inner(Arc<InnerNode>),
    Leaf(Arc<Leaf>),
}

/// Reads one disk map.
pub(crate) struct TreeReader {
    shared: Arc<Shared>,
    map: DiskMap,
    nodes: Mutex<Lru<ChunkId, Node>>,
}

impl TreeReader {
    pub(crate) fn new(shared: Arc<Shared>, map: DiskMap) -> Self {
        Self { shared, map, nodes: Mutex::new(Lru::new(NODES_KEPT_BYTES)) }
    }

    pub(crate) fn map(&self) -> &DiskMap {
        &self.map
    }

    /// The id of the node at `place` among the nodes of `level`; none where the disk is zeros.
    pub(crate) async fn node_id(&self, level: u32, place: u64) -> Result<Option<ChunkId>> {
        let shift = level * FAN_OUT_BITS;
        Ok(match self.descend(place << shift, level).await? {
            Descent::Node(id) => Some(id),
            Descent::Hole { .. } => None,
        })
    }

    /// What is at a region.
    pub(crate) async fn locate(&self, region: u64) -> Result<Located> {
        Ok(match self.descend(region, 0).await? {
            Descent::Node(id) => Located::Leaf(id),
            Descent::Hole { level } => {
                let shift = level * FAN_OUT_BITS;
                let next = (region >> shift).saturating_add(1).checked_shl(shift).unwrap_or(u64::MAX);
                Located::HoleUntil(next.min(self.map.region_count()))
            }
        })
    }

    /// The chunks of a region; none where the disk is zeros.
    pub(crate) async fn leaf(&self, region: u64) -> Result<Arc<Leaf>> {
        match self.locate(region).await? {
            Located::Leaf(id) => self.load_leaf(region, id).await,
            Located::HoleUntil(_) => Ok(Arc::default()),
        }
    }

    /// Loads the leaf of a region by its id.
    pub(crate) async fn load_leaf(&self, region: u64, id: ChunkId) -> Result<Arc<Leaf>> {
        let kept = self.kept(&id);
        let leaf = match kept {
            Some(Node::Leaf(leaf)) => leaf,
            _ => {
                let leaf = Arc::new(Leaf::decode(&self.shared.read_chunk(FrameKind::Tree, id, None).await?)?);
                self.keep(id, Node::Leaf(Arc::clone(&leaf)));
                leaf
            }
        };
        let ByteRange { length_bytes, .. } = self.map.region_range(region);
        match leaf.chunks.last() {
            Some(last) if u64::from(last.end_bytes()) > length_bytes => {
                Err(Error::corrupt(format!("region {region} of a disk map reaches past the disk's end")))
            }
            _ => Ok(leaf),
        }
    }

    /// Goes from the root towards `region`, down to `level`.
    async fn descend(&self, region: u64, level: u32) -> Result<Descent> {
        let mut at_level = self.map.root_level();
        let Some(mut id) = self.map.root.filter(|_| region < self.map.region_count()) else {
            return Ok(Descent::Hole { level: at_level });
        };
        while at_level > level {
            let node = self.load_inner(id, at_level).await?;
            at_level -= 1;
            let place = (region >> (at_level * FAN_OUT_BITS)) % super::FAN_OUT;
            match node.children.get(place as usize).copied().flatten() {
                Some(child) => id = child,
                None => return Ok(Descent::Hole { level: at_level }),
            }
        }
        Ok(Descent::Node(id))
    }

    async fn load_inner(&self, id: ChunkId, level: u32) -> Result<Arc<InnerNode>> {
        if let Some(Node::Inner(node)) = self.kept(&id) {
            return Ok(node);
        }
        let node = Arc::new(InnerNode::decode(&self.shared.read_chunk(FrameKind::Tree, id, None).await?)?);
        if u32::from(node.level) != level {
            return Err(Error::corrupt(format!(
                "node {id} of a disk map is of level {}, not {level}",
                node.level
            )));
        }
        self.keep(id, Node::Inner(Arc::clone(&node)));
        Ok(node)
    }

    fn kept(&self, id: &ChunkId) -> Option<Node> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn keep(&self, id: ChunkId, node: Node) {
        let weight = match &node {
            Node::Inner(_) => size_of::<InnerNode>(),
            Node::Leaf(leaf) => size_of::<Leaf>() + leaf.chunks.len() * size_of::<ChunkRef>(),
        };
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).put(id, node, weight);
    }
}

enum Descent {
    Node(ChunkId),
    Hole { level: u32 },
}
