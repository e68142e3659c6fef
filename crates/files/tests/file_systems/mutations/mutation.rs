//! Which bytes change.

use std::collections::BTreeMap;

/// Bytes that are changed at the most.
const CHANGES_MAX: u64 = 48;

/// Blocks in which changes are counted.
pub const BLOCK_BYTES: u64 = 4096;

/// Numbers that follow from a seed (SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64, kind: u64, number: u64) -> Self {
        let mut this = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ kind << 56 ^ number);
        this.next();
        this
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// New bytes by their places, in blocks that hold something: mostly metadata, where files are small. The first block, without
/// which hardly anything can be mounted, is mostly spared.
pub fn changes(original: &[(u64, Vec<u8>)], random: &mut Random) -> BTreeMap<u64, u8> {
    let spares_first = random.below(8) != 0;
    let count = 1 + random.below(CHANGES_MAX);
    let mut changes = BTreeMap::new();
    for _ in 0..count {
        let Some((block, bytes)) = original.get(random.below(original.len() as u64) as usize) else {
            continue;
        };
        if *block == 0 && spares_first {
            continue;
        }
        // Where something is, more often than where nothing is.
        let place = (0..4).map(|_| random.below(BLOCK_BYTES)).reduce(|best, place| {
            if bytes.get(best as usize).is_some_and(|byte| *byte != 0) { best } else { place }
        });
        let place = place.unwrap_or(0);
        let old = bytes.get(place as usize).copied().unwrap_or(0);
        let new = match random.below(4) {
            0 => 0xff,
            1 => old ^ 1 << random.below(8),
            2 => old.wrapping_add(1),
            _ => random.next() as u8,
        };
        changes.insert(block + place, new);
    }
    changes
}
