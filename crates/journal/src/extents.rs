//! What a stretch of the journal says of disks at its end: for each sector the last record that touched it.

use std::collections::BTreeMap;

use crate::{DiskNumber, Result, Sequence, record::SECTOR_BYTES};

/// Sectors of one disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sectors {
    pub(crate) disk: DiskNumber,
    pub(crate) start: u64,
    /// The first that is no more meant.
    pub(crate) end: u64,
}

impl Sectors {
    pub(crate) fn new(disk: DiskNumber, start: u64, count: u64) -> Self {
        Self { disk, start, end: start.saturating_add(count) }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// Where the bytes of a piece are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nowhere: they are zeros.
    Zero,
    /// In the segment that holds the piece's record: the block at this byte, and there, expanded, from this byte on.
    Block { offset_bytes: u32, position: u32 },
}

/// Sectors of one disk that one record was the last to touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) sectors: Sectors,
    pub(crate) sequence: Sequence,
    pub(crate) source: Source,
}

impl Piece {
    /// The part of it that lies between these sectors; may be empty.
    pub(crate) fn between(self, start: u64, end: u64) -> Self {
        let cut_start = self.sectors.start.max(start);
        let skipped = cut_start.saturating_sub(self.sectors.start);
        let source = match self.source {
            Source::Zero => Source::Zero,
            Source::Block { offset_bytes, position } => {
                let skipped_bytes = (skipped * SECTOR_BYTES) as u32;
                Source::Block { offset_bytes, position: position.wrapping_add(skipped_bytes) }
            }
        };
        let sectors = Sectors { start: cut_start, end: self.sectors.end.min(end), ..self.sectors };
        Self { sectors, source, ..self }
    }
}

/// Pieces that do not overlap.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExtentMap {
    pieces: BTreeMap<(DiskNumber, u64), Piece>,
}

impl ExtentMap {
    /// Puts a piece over what is there.
    pub(crate) fn put(&mut self, piece: Piece) {
        let Sectors { disk, start, end } = piece.sectors;
        for old in self.overlapping(piece.sectors) {
            self.pieces.remove(&(disk, old.sectors.start));
            for rest in [old.between(0, start), old.between(end, u64::MAX)] {
                if !rest.sectors.is_empty() {
                    self.pieces.insert((disk, rest.sectors.start), rest);
                }
            }
        }
        self.pieces.insert((disk, start), piece);
    }

    /// All pieces that touch these sectors, in order, uncut.
    pub(crate) fn overlapping(&self, sectors: Sectors) -> Vec<Piece> {
        let before = self.pieces.range(..(sectors.disk, sectors.start)).next_back();
        let before = before.filter(|((disk, _), _)| *disk == sectors.disk);
        let within = self.pieces.range((sectors.disk, sectors.start)..(sectors.disk, sectors.end));
        let touching = before.into_iter().chain(within).map(|(_, piece)| *piece);
        touching.filter(|piece| piece.sectors.end > sectors.start).collect()
    }

    /// All pieces, by disk and sector.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Piece> {
        self.pieces.values().copied()
    }
}

/// Which of these sectors no piece covers yet, and what those that do say, as layer after layer is asked, newest first.
#[derive(Debug)]
pub(crate) struct Layers {
    disk: DiskNumber,
    gaps: Vec<(u64, u64)>,
    pieces: Vec<Piece>,
}

impl Layers {
    pub(crate) fn new(sectors: Sectors) -> Self {
        Self { disk: sectors.disk, gaps: vec![(sectors.start, sectors.end)], pieces: Vec::new() }
    }

    /// Whether there is nothing left to ask for.
    pub(crate) fn is_full(&self) -> bool {
        self.gaps.is_empty()
    }

    /// Asks the next layer for its pieces of each gap: those that touch it, in order.
    pub(crate) fn ask(&mut self, mut pieces_in: impl FnMut(Sectors) -> Result<Vec<Piece>>) -> Result<()> {
        for (start, end) in std::mem::take(&mut self.gaps) {
            let mut position = start;
            for piece in pieces_in(Sectors { disk: self.disk, start, end })? {
                let piece = piece.between(position, end);
                if piece.sectors.is_empty() {
                    continue;
                }
                if piece.sectors.start > position {
                    self.gaps.push((position, piece.sectors.start));
                }
                position = piece.sectors.end;
                self.pieces.push(piece);
            }
            if position < end {
                self.gaps.push((position, end));
            }
        }
        Ok(())
    }

    /// The pieces in order, and the sectors of which no layer says anything.
    pub(crate) fn finish(mut self) -> (Vec<Piece>, Vec<Sectors>) {
        self.pieces.sort_by_key(|piece| piece.sectors.start);
        let disk = self.disk;
        (self.pieces, self.gaps.into_iter().map(|(start, end)| Sectors { disk, start, end }).collect())
    }
}
