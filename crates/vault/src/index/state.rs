//! What an index knows at one moment, and how a chunk is looked up in it.

use std::{
    ops::{ControlFlow, Range},
    sync::Arc,
};

use super::{ChunkPlace, Ordinal, file_table::LastPage, filter::Filter, packs::Packs, record, table::Table};
use crate::{ChunkId, Result};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) packs: Packs,
    /// Oldest first, each at least twice as long as the next, so that a search looks into few.
    pub(super) tables: Vec<Listed>,
    /// How many hold the index frozen.
    pub(super) freezes: usize,
}

/// A table in its place among the others.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) table: Arc<Table>,
    pub(super) filter: Option<Arc<Filter>>,
    /// Its records' frames are among these: those of the next table come after them.
    pub(super) frames: Range<u32>,
    /// There may be records whose packs are gone.
    pub(super) has_dead: bool,
}

/// The one record of a chunk that counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen {
    pub(super) ordinal: Ordinal,
    pub(super) place: ChunkPlace,
    pub(super) is_lost: bool,
}

/// The pages that were read last, of each table one.
#[derive(Debug, Default)]
pub(crate) struct Pages(Vec<LastPage>);

impl Pages {
    fn of_table(&mut self, place: usize) -> &mut LastPage {
        if place >= self.0.len() {
            self.0.resize_with(place + 1, LastPage::default);
        }
        &mut self.0[place]
    }
}

impl State {
    pub(super) fn tables(&self) -> Vec<Arc<Table>> {
        self.tables.iter().map(|listed| Arc::clone(&listed.table)).collect()
    }

    /// The record of a chunk that counts: the newest that is not lost, or else the newest.
    pub(super) fn choose(&self, id: &ChunkId) -> Result<Option<Chosen>> {
        self.choose_near(id, &mut Pages::default())
    }

    /// The same, with the pages that were read before. The index must have been frozen since: each page belongs to the table
    /// in one place.
    pub(super) fn choose_near(&self, id: &ChunkId, pages: &mut Pages) -> Result<Option<Chosen>> {
        let mut first: u64 = self.tables.iter().map(|listed| listed.table.len() as u64).sum();
        let mut chosen = None;
        for (place, Listed { table, filter, .. }) in self.tables.iter().enumerate().rev() {
            first -= table.len() as u64;
            if filter.as_ref().is_some_and(|filter| !filter.may_hold(id)) {
                continue;
            }
            let end = table.search(id, pages.of_table(place), |position, record| {
                let place = record::place_of(record);
                let Some(is_lost) = self.packs.is_lost(place.frame) else { return ControlFlow::Continue(()) };
                if is_lost && chosen.is_some() {
                    return ControlFlow::Continue(());
                }
                chosen = Some(Chosen { ordinal: Ordinal(first + position as u64), place, is_lost });
                if is_lost { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if end.is_break() {
                break;
            }
        }
        Ok(chosen)
    }

    /// Lets go of the filters of tables that are about to be merged: in memory is never more than the filter of the new
    /// one. Lookups meanwhile read a page where the filter would have saved it.
    pub(super) fn drop_filters(&mut self, tables: &[Arc<Table>]) {
        for listed in &mut self.tables {
            if tables.iter().any(|table| Arc::ptr_eq(table, &listed.table)) {
                listed.filter = None;
            }
        }
    }
}
