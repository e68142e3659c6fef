//! Indexes on disk: pieces sorted by disk and sector, in pages that are checked one by one.
//!
//! A segment's footer has an index of its own. Those of many segments are merged into larger ones ([`merge`]), so that a
//! moment is found through a few of them however many segments there are. Each extent takes 32 bytes in an index.

pub(crate) mod merge;
pub(crate) mod page;
pub(crate) mod trailer;

use std::sync::Arc;

use crate::{
    Error, Result,
    codec::Checksum,
    extents::{Piece, Sectors},
    folder::FolderFile,
    recent::Recent,
};
use page::{PAGE_BYTES, decode_page};

/// Pages that were read, by file and number.
pub(crate) type PageCache = Recent<(Arc<str>, u32), Arc<Vec<Piece>>>;

/// An index in a file.
#[derive(Clone)]
pub(crate) struct Pages {
    pub(crate) file: Arc<dyn FolderFile>,
    pub(crate) name: Arc<str>,
    /// Where in the file the first page is.
    pub(crate) start_bytes: u64,
    pub(crate) count: u32,
    /// What ties the pages to this index: a page of another is none of this.
    pub(crate) owner: Checksum,
}

impl Pages {
    /// Reads a page.
    pub(crate) fn page(&self, number: u32) -> Result<Vec<Piece>> {
        let mut bytes = [0; PAGE_BYTES];
        self.file
            .read_at(self.start_bytes + u64::from(number) * PAGE_BYTES as u64, &mut bytes)
            .map_err(|error| Error::from_io(format!("{}: reading its index", self.name), error))?;
        decode_page(&bytes, &self.owner, number).map_err(|error| error.of_file(&self.name))
    }

    /// The pieces that touch these sectors, in order, uncut.
    pub(crate) fn pieces_in(&self, cache: &PageCache, sectors: Sectors) -> Result<Vec<Piece>> {
        let page =
            |number: u32| cache.get_or(&(Arc::clone(&self.name), number), || self.page(number).map(Arc::new));
        // The first page that begins behind the start of what is asked for; pieces before it may reach into that.
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let first = page(middle)?.first().map(|piece| (piece.sectors.disk, piece.sectors.start));
            match first {
                Some(first) if first <= (sectors.disk, sectors.start) => low = middle + 1,
                _ => high = middle,
            }
        }
        let mut found = Vec::new();
        for number in low.saturating_sub(1)..self.count {
            let page = page(number)?;
            let from = page.partition_point(|piece| {
                (piece.sectors.disk, piece.sectors.end) <= (sectors.disk, sectors.start)
            });
            for piece in &page[from..] {
                if (piece.sectors.disk, piece.sectors.start) >= (sectors.disk, sectors.end) {
                    return Ok(found);
                }
                found.push(*piece);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
