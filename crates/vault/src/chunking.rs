//! Where disks are cut into chunks: content-defined, on the 4 KiB grid of guest file systems, holes left out.

use std::ops::Range;

use crate::config::Chunking;

/// The grid: cuts are made between blocks of this size, and a block of zeros is never part of a chunk.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// Independent accumulators, which keep the multipliers busy.
const LANES: usize = 4;

/// The secret that decides where cuts are made. Without it, the lengths of chunks would betray which known files a disk
/// holds to whoever can see lengths.
#[derive(Debug, Clone)]
pub(crate) struct CutKey([u64; 2 * LANES]);

impl CutKey {
    /// The key that a derived key of 32 bytes expands to.
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut expanded = [0; 16 * LANES];
        blake3::Hasher::new_keyed(bytes).finalize_xof().fill(&mut expanded);
        let (words, _) = expanded.as_chunks::<8>();
        Self(std::array::from_fn(|place| words.get(place).map_or(0, |word| u64::from_le_bytes(*word))))
    }

    /// A keyed mix of one block, cheap rather than strong: it hides cut points, it protects nothing.
    fn mix(&self, block: &[u8]) -> u64 {
        let mut lanes: [u64; LANES] = std::array::from_fn(|lane| self.0[lane]);
        let (groups, _) = block.as_chunks::<{ 16 * LANES }>();
        for group in groups {
            let (words, _) = group.as_chunks::<8>();
            for (lane, accumulator) in lanes.iter_mut().enumerate() {
                let (first, second) =
                    (u64::from_le_bytes(words[2 * lane]), u64::from_le_bytes(words[2 * lane + 1]));
                *accumulator = fold(first ^ self.0[2 * lane], second ^ *accumulator);
            }
        }
        let sum = lanes.iter().fold(block.len() as u64, |sum, lane| sum.rotate_left(23) ^ lane);
        fold(sum, 0x9e37_79b9_7f4a_7c15)
    }
}

/// Both halves of the 128-bit product, mixed.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Cuts runs of bytes into chunks.
#[derive(Debug, Clone)]
pub(crate) struct Chunker {
    key: CutKey,
    min_bytes: usize,
    max_bytes: usize,
    /// A block whose mix is below this ends a chunk.
    threshold: u64,
}

impl Chunker {
    pub(crate) fn new(key: CutKey, chunking: Chunking) -> Self {
        let blocks = u64::from(chunking.average_bytes) / BLOCK_BYTES as u64;
        Self {
            key,
            min_bytes: chunking.min_bytes as usize,
            max_bytes: chunking.max_bytes as usize,
            threshold: u64::MAX / blocks.max(1),
        }
    }

    /// The chunks of a run of bytes that starts on the grid: sorted, disjoint, without any block of zeros.
    pub(crate) fn cut(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut chunks = Vec::with_capacity(bytes.len() / (64 << 10) + 1);
        let mut start = 0;
        for (number, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
            let offset = number * BLOCK_BYTES;
            if is_zero(block) {
                if start < offset {
                    chunks.push(start..offset);
                }
                start = offset + block.len();
                continue;
            }
            let end = offset + block.len();
            let length = end - start;
            if length >= self.max_bytes || (length >= self.min_bytes && self.key.mix(block) < self.threshold)
            {
                chunks.push(start..end);
                start = end;
            }
        }
        if start < bytes.len() {
            chunks.push(start..bytes.len());
        }
        chunks
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(512).all(|part| part.iter().fold(0, |seen, byte| seen | byte) == 0)
}

#[cfg(test)]
mod tests;
