//! Copies of a btrfs that the kernel takes for file systems of their own, with damage behind right checksums, which nobody else
//! finds.

use std::collections::{BTreeMap, BTreeSet};

use super::mutation::BLOCK_BYTES;
use crate::tables::crc32c;

/// Nodes, and where in them the id of the file system and the checksummed part are (the kernel's
/// `include/uapi/linux/btrfs_tree.h`).
const NODE_BYTES: u64 = 16 << 10;
const ID: std::ops::Range<usize> = 32..48;
const CHECKED: usize = 32;

/// The superblock and its copy, with a checksum of the same kind over 4 KiB.
const SUPERBLOCKS: [u64; 2] = [64 << 10, 64 << 20];

/// Gives a copy an id that follows from a number, and makes its checksums right again.
pub fn rename(blocks: &[(u64, Vec<u8>)], number: u64, changes: &mut BTreeMap<u64, u8>) {
    let block = |at: u64| {
        let found = blocks.binary_search_by_key(&at, |(offset, _)| *offset).ok();
        found.map_or_else(|| vec![0; BLOCK_BYTES as usize], |index| blocks[index].1.clone())
    };
    let id = block(SUPERBLOCKS[0])[ID].to_vec();
    let mut new_id = id.clone();
    new_id[..8].copy_from_slice(&(number + 1).to_le_bytes());
    for (offset, bytes) in blocks {
        let places = bytes.windows(id.len()).enumerate().filter(|(_, window)| *window == id);
        for (place, _) in places {
            let renamed = (offset + place as u64..).zip(new_id.iter().copied());
            // What is damaged stays so.
            for (at, byte) in renamed {
                changes.entry(at).or_insert(byte);
            }
        }
    }
    let starts: BTreeSet<u64> = changes.keys().map(|place| place - place % BLOCK_BYTES).collect();
    let units: BTreeSet<(u64, u64)> = starts
        .into_iter()
        .map(|start| match SUPERBLOCKS.contains(&start) {
            true => (start, BLOCK_BYTES),
            false => (start - start % NODE_BYTES, NODE_BYTES),
        })
        .collect();
    for (start, length) in units {
        let mut unit: Vec<u8> =
            (start..start + length).step_by(BLOCK_BYTES as usize).flat_map(block).collect();
        // Data has no checksum of its own here.
        if unit.get(ID) != Some(&id) {
            continue;
        }
        for (place, byte) in changes.range(start..start + length) {
            unit[(place - start) as usize] = *byte;
        }
        let checksum = crc32c(&unit[CHECKED..]).to_le_bytes();
        changes.extend((start..).zip(checksum));
    }
}
