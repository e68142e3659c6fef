//! An index that stands still, so that its records can be counted off and marked.

use std::sync::Arc;

use super::{ChunkPlace, Index, PackNumber, record, state::Pages, table::Cursor};
use crate::{ChunkId, Result, sync};

/// The number of a record in a frozen index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ordinal(pub(crate) u64);

/// Keeps the records of an index where they are while it lives: what is added comes after them, and what is let go of
/// leaves its number unused. What could have been tidied up meanwhile is tidied up by the next addition.
#[derive(Debug)]
pub(crate) struct Frozen(Arc<Index>);

impl Index {
    /// Freezes the index. Waits for changes that are under way: call it on a blocking thread.
    pub(crate) fn freeze(self: &Arc<Self>) -> Frozen {
        let _changing = sync::lock(&self.changing);
        sync::write(&self.state).freezes += 1;
        Frozen(Arc::clone(self))
    }
}

impl Frozen {
    /// The number of the record that [`Index::find`] chooses at this moment: one that is lost only if all of that chunk are.
    ///
    /// # Errors
    /// Whatever happens to the files of the index directory.
    pub(crate) fn ordinal(&self, id: &ChunkId) -> Result<Option<Ordinal>> {
        Ok(sync::read(&self.0.state).choose(id)?.map(|chosen| chosen.ordinal))
    }

    /// That record's number, and what it says. Cheap where `pages`, which belong to this, are of an id just before.
    ///
    /// # Errors
    /// Whatever happens to the files of the index directory.
    pub(crate) fn find(&self, id: &ChunkId, pages: &mut Pages) -> Result<Option<(Ordinal, ChunkPlace)>> {
        Ok(sync::read(&self.0.state).choose_near(id, pages)?.map(|chosen| (chosen.ordinal, chosen.place)))
    }

    /// Shows every record, by number, with the pack that its frame is in. What is added meanwhile is not shown. Reads the whole index: call it on a blocking
    /// thread.
    ///
    /// # Errors
    /// Those of `visit`, and whatever happens to the files of the index directory.
    pub(crate) fn for_each(
        &self,
        mut visit: impl FnMut(Ordinal, ChunkId, ChunkPlace, PackNumber) -> Result<()>,
    ) -> Result<()> {
        let mut first = 0;
        let tables = sync::read(&self.0.state).tables();
        for table in tables {
            let mut cursor = Cursor::new(Arc::clone(&table))?;
            while let Some(record) = cursor.record() {
                let place = record::place_of(record);
                if let Some(pack) = self.0.pack_of(place.frame) {
                    visit(Ordinal(first + cursor.position() as u64), record::id_of(record), place, pack)?;
                }
                cursor.advance()?;
            }
            first += table.len() as u64;
        }
        Ok(())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        sync::write(&self.0.state).freezes -= 1;
    }
}

/// A set of records of a frozen index: a bit for each, up to the last that is in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks(Vec<u64>);

impl Marks {
    /// Puts a record in. Returns whether it was not in.
    pub(crate) fn insert(&mut self, ordinal: Ordinal) -> bool {
        let (word, bit) = place_of(ordinal);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    /// Whether a record is in it.
    pub(crate) fn contains(&self, ordinal: Ordinal) -> bool {
        let (word, bit) = place_of(ordinal);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many records are in it.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

fn place_of(ordinal: Ordinal) -> (usize, u64) {
    ((ordinal.0 / 64) as usize, 1 << (ordinal.0 % 64))
}
