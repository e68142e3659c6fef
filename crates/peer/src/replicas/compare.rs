//! Comparing a disk at the source with what the other side shows of it, piece by piece.
//!
//! The source asks for digests of a range, reads the same range, and enters into its journal what is not equal.

use image::{ByteRange, DiskImage, ExtentKind};
use journal::{DiskNumber, Sequence};
use serde::{Deserialize, Serialize};

use super::RecordNumber;
use crate::{Digest, Error, Result, region::is_zero};

/// The largest piece that has a digest of its own.
pub const PIECE_MAX_BYTES: u64 = 1 << 20;

/// The smallest.
pub const PIECE_MIN_BYTES: u64 = 4 << 10;

/// The longest range that is asked about at once.
pub const COMPARED_MAX_BYTES: u64 = 256 << 20;

/// The most pieces that are asked about at once.
const PIECES_MAX: u64 = 4096;

/// The source is about to compare: the bases are to begin with what the other side has chosen for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// A record of the epoch in which the disks are compared.
    #[serde(with = "RecordNumber")]
    pub through: Sequence,
}

/// How far that is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Whether the disks can be compared; if not, ask again in a while.
    pub is_ready: bool,
    /// What the bases begin with, in words; none where they begin with zeros.
    #[serde(default)]
    pub from: Option<String>,
    /// Bytes that were copied of it, and all of them.
    #[serde(default)]
    pub done_bytes: u64,
    /// See `done_bytes`.
    #[serde(default)]
    pub total_bytes: u64,
    /// Why there is nothing that the bases begin with, although there should be.
    #[serde(default)]
    pub problem: Option<String>,
    /// The numbers of disks of which nothing is there but what this journal says. Such a disk that was added in this epoch needs no
    /// comparing: whatever is not copied is zeros there.
    #[serde(default)]
    pub fresh: Vec<u32>,
}

/// Asks what a range of a disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The disk's number in the journal.
    #[serde(with = "NumberOfDisk")]
    pub disk: DiskNumber,
    /// As in [`Prepare`].
    #[serde(with = "RecordNumber")]
    pub through: Sequence,
    /// Where the range begins.
    pub offset_bytes: u64,
    /// How long it is, [`COMPARED_MAX_BYTES`] at most.
    pub length_bytes: u64,
    /// How long each piece is: a power of two. The last may be shorter.
    pub piece_bytes: u64,
}

impl Compare {
    /// The range.
    #[must_use]
    pub fn range(&self) -> ByteRange {
        ByteRange { offset_bytes: self.offset_bytes, length_bytes: self.length_bytes }
    }

    /// Refuses what nobody answers.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`].
    pub fn check(&self) -> Result<()> {
        let is_piece = (PIECE_MIN_BYTES..=PIECE_MAX_BYTES).contains(&self.piece_bytes)
            && self.piece_bytes.is_power_of_two();
        if !is_piece
            || self.length_bytes > COMPARED_MAX_BYTES
            || self.length_bytes.div_ceil(self.piece_bytes.max(1)) > PIECES_MAX
            || self.offset_bytes.checked_add(self.length_bytes).is_none()
        {
            return Err(Error::invalid(format!(
                "at most {COMPARED_MAX_BYTES} bytes are compared at once, in {PIECES_MAX} pieces"
            )));
        }
        Ok(())
    }
}

/// What a range holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// The digest of each piece, in order; none of one that is all zeros.
    pub digests: Vec<Option<Digest>>,
}

/// The digest of a piece; none when it is all zeros.
#[must_use]
pub fn piece_digest(piece: &[u8]) -> Option<Digest> {
    (!is_zero(piece)).then(|| Digest::of(piece))
}

/// The digests of a range of a disk, in pieces from its start. What is known to be zeros is not read.
///
/// # Errors
/// Those of the image.
pub async fn piece_digests(
    image: &dyn DiskImage,
    range: ByteRange,
    piece_bytes: u64,
) -> image::Result<Vec<Option<Digest>>> {
    let extents = image.extents(range).await?;
    let data: Vec<ByteRange> =
        extents.iter().filter(|extent| extent.kind == ExtentKind::Data).map(|extent| extent.range).collect();
    let mut next = 0;
    let mut digests = Vec::with_capacity(range.length_bytes.div_ceil(piece_bytes) as usize);
    let mut buffer = vec![0; piece_bytes.min(range.length_bytes) as usize];
    let mut start_bytes = range.offset_bytes;
    while start_bytes < range.end_bytes() {
        let piece = ByteRange::between(start_bytes, range.end_bytes().min(start_bytes + piece_bytes));
        start_bytes = piece.end_bytes();
        while data.get(next).is_some_and(|known| known.end_bytes() <= piece.offset_bytes) {
            next += 1;
        }
        if data.get(next).is_none_or(|known| known.offset_bytes >= piece.end_bytes()) {
            digests.push(None);
            continue;
        }
        let bytes = &mut buffer[..piece.length_bytes as usize];
        image.read_at(piece.offset_bytes, bytes).await?;
        digests.push(piece_digest(bytes));
    }
    Ok(digests)
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "DiskNumber")]
struct NumberOfDisk(u32);

#[cfg(test)]
mod tests;
