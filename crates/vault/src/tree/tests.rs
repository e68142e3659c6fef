use std::collections::HashMap;

use proptest::prelude::*;

use super::{ChunkRef, DiskMap, FAN_OUT, InnerNode, Leaf, NodeSink, REGION_BYTES, TreeBuilder};
use crate::ChunkId;

#[derive(Default)]
struct Nodes(HashMap<ChunkId, Vec<u8>>);

impl NodeSink for Nodes {
    fn put_node(&mut self, bytes: &[u8]) -> crate::Result<ChunkId> {
        let id = ChunkId(*blake3::hash(bytes).as_bytes());
        self.0.insert(id, bytes.to_vec());
        Ok(id)
    }
}

fn leaf(region: u64) -> Leaf {
    let id = ChunkId(*blake3::hash(&region.to_le_bytes()).as_bytes());
    Leaf { chunks: vec![ChunkRef { offset_bytes: 4096, length_bytes: 8192, id }] }
}

/// All leaves of a tree by walking it.
fn walk(nodes: &Nodes, id: ChunkId, level: u32, place: u64, found: &mut Vec<(u64, Leaf)>) {
    let bytes = &nodes.0[&id];
    if level == 0 {
        found.push((place, Leaf::decode(bytes).unwrap()));
        return;
    }
    let node = InnerNode::decode(bytes).unwrap();
    assert_eq!(u32::from(node.level), level);
    for (child, id) in node.children.iter().enumerate() {
        if let Some(id) = id {
            walk(nodes, *id, level - 1, place * FAN_OUT + child as u64, found);
        }
    }
}

#[test]
fn the_root_is_as_low_as_it_can_be() {
    for (regions, level) in [(1, 0), (2, 1), (64, 1), (65, 2), (4096, 2), (4097, 3), (262_145, 4)] {
        assert_eq!(
            DiskMap { size_bytes: regions * REGION_BYTES, root: None }.root_level(),
            level,
            "{regions}"
        );
        assert_eq!(
            DiskMap { size_bytes: regions * REGION_BYTES - 512, root: None }.root_level(),
            level,
            "{regions}"
        );
    }
    assert_eq!(DiskMap { size_bytes: u64::MAX, root: None }.root_level(), 7);
}

#[test]
fn nodes_that_make_no_sense_are_refused() {
    let mut overlapping = leaf(1);
    overlapping.chunks.push(ChunkRef { offset_bytes: 8192, ..overlapping.chunks[0] });
    assert!(Leaf::decode(&overlapping.encode()).is_err());
    let mut beyond = leaf(1);
    beyond.chunks[0].offset_bytes = REGION_BYTES as u32 - 4096;
    assert!(Leaf::decode(&beyond.encode()).is_err());
    let mut empty = leaf(1);
    empty.chunks[0].length_bytes = 0;
    assert!(Leaf::decode(&empty.encode()).is_err());
    assert!(InnerNode::decode(&InnerNode::new(0).encode()).is_err());
    assert!(Leaf::decode(&InnerNode::new(1).encode()).is_err());
    let mut version = leaf(1).encode();
    version[1] = 2;
    assert_eq!(Leaf::decode(&version).unwrap_err().kind(), crate::ErrorKind::UnsupportedVersion);
}

proptest! {
    #[test]
    fn a_tree_holds_what_was_put(mut regions in prop::collection::btree_set(0..6000u64, 0..60)) {
        let size_bytes = (regions.last().copied().unwrap_or(3) + 1) * REGION_BYTES;
        let mut nodes = Nodes::default();
        let mut builder = TreeBuilder::new(size_bytes);
        regions.iter().for_each(|&region| builder.put_leaf(region, &leaf(region), &mut nodes).unwrap());
        let map = builder.finish(&mut nodes).unwrap();
        let mut found = Vec::new();
        if let Some(root) = map.root {
            walk(&nodes, root, map.root_level(), 0, &mut found);
        }
        let put: Vec<_> = regions.iter().map(|&region| (region, leaf(region))).collect();
        prop_assert_eq!(found, put);

        // The same tree comes out when a whole subtree is put where its leaves were.
        regions.extend([64, 127]);
        let mut subtree = InnerNode::new(1);
        let within: Vec<u64> = regions.range(64..128).copied().collect();
        for region in within {
            subtree.children[(region - 64) as usize] = Some(nodes.put_node(&leaf(region).encode()).unwrap());
        }
        let subtree = nodes.put_node(&subtree.encode()).unwrap();
        let size_bytes = (regions.last().copied().unwrap_or(0).max(4096) + 1) * REGION_BYTES;
        let (mut by_leaves, mut by_subtree) = (TreeBuilder::new(size_bytes), TreeBuilder::new(size_bytes));
        for &region in &regions {
            by_leaves.put_leaf(region, &leaf(region), &mut nodes).unwrap();
            match region {
                64 => by_subtree.put_subtree(1, 1, subtree, &mut nodes).unwrap(),
                65..128 => {}
                _ => by_subtree.put_leaf(region, &leaf(region), &mut nodes).unwrap(),
            }
        }
        prop_assert_eq!(by_leaves.finish(&mut nodes).unwrap(), by_subtree.finish(&mut nodes).unwrap());
    }
}
