//! Merging: of several indexes, newest first, one that says what all of them say together.

use std::vec;

use super::Pages;
use crate::{Result, extents::Piece};

/// The pieces of an index one after another, a page in memory at a time.
struct Stream {
    pages: Pages,
    next_page: u32,
    rest: vec::IntoIter<Piece>,
    current: Option<Piece>,
}

impl Stream {
    fn new(pages: Pages) -> Result<Self> {
        let mut stream = Self { pages, next_page: 0, rest: Vec::new().into_iter(), current: None };
        stream.advance()?;
        Ok(stream)
    }

    fn advance(&mut self) -> Result<()> {
        self.current = self.rest.next();
        while self.current.is_none() && self.next_page < self.pages.count {
            self.rest = self.pages.page(self.next_page)?.into_iter();
            self.next_page += 1;
            self.current = self.rest.next();
        }
        Ok(())
    }

    /// Forgets what lies before this sector of this disk.
    fn drop_before(&mut self, position: Position) -> Result<()> {
        while let Some(piece) = self.current {
            if (piece.sectors.disk.0, piece.sectors.end) > position {
                if piece.sectors.disk.0 == position.0 {
                    self.current = Some(piece.between(position.1, u64::MAX));
                }
                break;
            }
            self.advance()?;
        }
        Ok(())
    }
}

/// A disk and a sector of it.
type Position = (u32, u64);

fn start(piece: &Piece) -> Position {
    (piece.sectors.disk.0, piece.sectors.start)
}

/// Merges indexes, newest first. Memory: a page for each.
pub(crate) struct Merge {
    streams: Vec<Stream>,
}

impl Merge {
    pub(crate) fn new(newest_first: Vec<Pages>) -> Result<Self> {
        Ok(Self { streams: newest_first.into_iter().map(Stream::new).collect::<Result<_>>()? })
    }

    /// The next piece.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>> {
        let first = |stream: &Stream| stream.current.as_ref().map(start);
        let Some(position) = self.streams.iter().filter_map(first).min() else { return Ok(None) };
        let Some(winner) = self.streams.iter().position(|stream| first(stream) == Some(position)) else {
            return Ok(None);
        };
        let Some(piece) = self.streams[winner].current else { return Ok(None) };
        // A newer index that begins within the piece cuts it off.
        let newer = self.streams[..winner].iter().filter_map(first);
        let cut = newer.filter(|(disk, _)| *disk == position.0).map(|(_, sector)| sector).min();
        let piece = piece.between(0, cut.unwrap_or(u64::MAX));
        let end = (position.0, piece.sectors.end);
        for stream in &mut self.streams {
            stream.drop_before(end)?;
        }
        Ok(Some(piece))
    }
}
