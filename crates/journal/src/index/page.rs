//! A page of an index: 4 KiB, up to 127 pieces.

use crate::{
    DiskNumber, Error, Result, Sequence,
    codec::{Checksum, Reader},
    extents::{Piece, Sectors, Source},
};

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Pieces in a full page.
pub(crate) const PIECES_MAX: usize = 127;

/// Bytes of a piece.
const PIECE_BYTES: usize = 32;

/// Bytes of a page's checksum.
const CHECKSUM_BYTES: usize = 24;

/// Pages that are built one after another.
pub(crate) struct PageWriter {
    owner: Checksum,
    pending: Vec<Piece>,
    count: u32,
}

impl PageWriter {
    pub(crate) fn new(owner: Checksum) -> Self {
        Self { owner, pending: Vec::with_capacity(PIECES_MAX), count: 0 }
    }

    /// Pages that were built.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Adds a piece behind all others; returns pages that are full.
    pub(crate) fn push(&mut self, mut piece: Piece) -> Vec<u8> {
        let mut pages = Vec::new();
        loop {
            let end = piece.sectors.end.min(piece.sectors.start + u64::from(u32::MAX));
            self.pending.push(piece.between(0, end));
            if self.pending.len() == PIECES_MAX {
                pages.extend(self.finish());
            }
            piece = piece.between(end, u64::MAX);
            if piece.sectors.is_empty() {
                return pages;
            }
        }
    }

    /// The page of those pieces that do not fill one; nothing where there are none.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let mut page = Vec::with_capacity(PAGE_BYTES);
        for piece in &self.pending {
            let Sectors { disk, start, end } = piece.sectors;
            let (offset_bytes, position) = match piece.source {
                Source::Zero => (0, 0),
                Source::Block { offset_bytes, position } => (offset_bytes, position),
            };
            page.extend(disk.0.to_le_bytes());
            page.extend(((end - start) as u32).to_le_bytes());
            page.extend(start.to_le_bytes());
            page.extend(piece.sequence.0.to_le_bytes());
            page.extend(offset_bytes.to_le_bytes());
            page.extend(position.to_le_bytes());
        }
        page.resize(PIECES_MAX * PIECE_BYTES, 0);
        page.extend((self.pending.len() as u32).to_le_bytes());
        page.extend([0; 4]);
        let checksum = checksum(&page, &self.owner, self.count);
        page.extend(checksum);
        self.pending.clear();
        self.count += 1;
        page
    }
}

fn checksum(content: &[u8], owner: &Checksum, number: u32) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(owner);
    hasher.update(&number.to_le_bytes());
    hasher.update(content);
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_BYTES]);
    checksum
}

/// Reads the page of that number.
pub(crate) fn decode_page(bytes: &[u8; PAGE_BYTES], owner: &Checksum, number: u32) -> Result<Vec<Piece>> {
    let (content, expected) = bytes.split_at(PAGE_BYTES - CHECKSUM_BYTES);
    if checksum(content, owner, number) != expected {
        return Err(Error::corrupt(format!("page {number} of the index does not have its checksum")));
    }
    decode_content(content)
}

/// Reads a page without its checksum.
pub(crate) fn decode_content(content: &[u8]) -> Result<Vec<Piece>> {
    let mut reader = Reader::new(content, "a page of an index");
    let mut entries = Reader::new(reader.take(PIECES_MAX * PIECE_BYTES)?, "a page of an index");
    let count = reader.u32()? as usize;
    if count > PIECES_MAX {
        return Err(reader.error("counts more entries than it holds"));
    }
    let mut pieces: Vec<Piece> = Vec::with_capacity(count);
    for _ in 0..count {
        let (disk, sectors, start) = (DiskNumber(entries.u32()?), entries.u32()?, entries.u64()?);
        let (sequence, offset_bytes, position) = (Sequence(entries.u64()?), entries.u32()?, entries.u32()?);
        let source = match offset_bytes {
            0 => Source::Zero,
            _ => Source::Block { offset_bytes, position },
        };
        let sectors = Sectors::new(disk, start, u64::from(sectors));
        let is_behind =
            pieces.last().is_none_or(|last| (last.sectors.disk, last.sectors.end) <= (disk, start));
        if sectors.is_empty() || !is_behind {
            return Err(entries.error("is not in order"));
        }
        pieces.push(Piece { sectors, sequence, source });
    }
    Ok(pieces)
}
