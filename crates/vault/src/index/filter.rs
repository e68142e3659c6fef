//! Bloom filters: most chunks that a table does not hold are known without reading it.

use crate::ChunkId;

/// Bits of a filter for each chunk. Ten let one miss in about 80 through.
const BITS_PER_CHUNK: usize = 10;

const WORDS: usize = 8;

/// One cache line. A chunk sets one bit in each word, so that asking touches one line only (Putze, Sanders, Singler:
/// "Cache-, Hash- and Space-Efficient Bloom Filters", 2007).
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Block([u64; WORDS]);

/// A filter. Ids are keyed digests, so their bytes serve as hashes; ids made otherwise only make it slower.
#[derive(Debug)]
pub(super) struct Filter(Vec<Block>);

impl Filter {
    /// An empty filter for so many chunks.
    pub(super) fn for_chunks(count: usize) -> Self {
        Self(vec![Block::default(); (count * BITS_PER_CHUNK).div_ceil(64 * WORDS).max(1)])
    }

    pub(super) fn insert(&mut self, id: &ChunkId) {
        let number = self.block_number(id);
        let Some(block) = self.0.get_mut(number) else { return };
        block.0.iter_mut().zip(bits(id)).for_each(|(word, bit)| *word |= bit);
    }

    /// Whether a chunk may have been inserted; false is certain.
    pub(super) fn may_hold(&self, id: &ChunkId) -> bool {
        let block = self.0.get(self.block_number(id));
        block.is_none_or(|block| block.0.iter().zip(bits(id)).all(|(word, bit)| word & bit != 0))
    }

    fn block_number(&self, id: &ChunkId) -> usize {
        ((u128::from(word_of(id, 1)) * self.0.len() as u128) >> 64) as usize
    }
}

/// One bit for each word of a block.
fn bits(id: &ChunkId) -> impl Iterator<Item = u64> {
    let hash = word_of(id, 2);
    (0..WORDS).map(move |word| 1 << (hash >> (6 * word) & 63))
}

fn word_of(id: &ChunkId, number: usize) -> u64 {
    let (words, _) = id.0.as_chunks();
    words.get(number).map_or(0, |word| u64::from_le_bytes(*word))
}
