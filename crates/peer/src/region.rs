//! A region as it travels: what changes in it, and the digest of what it must hold then.
//!
//! Little-endian: `"HFRG"`, version 1 (u8), encoding (u8: 0 plain, 1 zstd), two zero bytes, the region's digest (32 bytes), how many
//! extents and how many bytes of data (u32 each); for each extent its offset and length in the region and whether it is zero or
//! data (u32 each: 0, 1); then the data of all data extents, one after the other, encoded.

use crate::{Digest, Error, ErrorKind, Result, transfer::REGION_SIZE_BYTES};

const MAGIC: &[u8; 4] = b"HFRG";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 48;
const EXTENT_BYTES: usize = 12;

/// What differs is told apart in blocks of this size.
const BLOCK_SIZE_BYTES: usize = 4096;

/// Extents are multiples of this.
const SECTOR_SIZE_BYTES: u32 = 512;
const EXTENTS_MAX: usize = REGION_SIZE_BYTES as usize / SECTOR_SIZE_BYTES as usize;

/// The longest region on its way.
pub const REGION_BODY_MAX_BYTES: usize =
    HEAD_BYTES + EXTENTS_MAX * EXTENT_BYTES + REGION_SIZE_BYTES as usize + (64 << 10);

/// Zstandard's level: a link is rarely faster than this.
const LEVEL: i32 = 1;

/// What changes in a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionChange {
    /// The digest of what the region holds then.
    digest: Digest,
    extents: Vec<ChangedExtent>,
    data: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ChangedExtent {
    start: u32,
    length: u32,
    is_zero: bool,
}

impl RegionChange {
    /// What makes a region out of its base: these ranges of it, sorted and disjoint. Where the base is all zeros, zeros are
    /// left out.
    #[must_use]
    pub fn new(region: &[u8], changed: &[std::ops::Range<usize>], starts_zeroed: bool) -> Self {
        let mut change = Self { digest: Digest::of(region), extents: Vec::new(), data: Vec::new() };
        for range in changed {
            let mut start = range.start;
            while start < range.end {
                let end = ((start / BLOCK_SIZE_BYTES + 1) * BLOCK_SIZE_BYTES).min(range.end);
                change.add(&region[start..end], start as u32, starts_zeroed);
                start = end;
            }
        }
        change
    }

    fn add(&mut self, block: &[u8], start: u32, starts_zeroed: bool) {
        let is_zero = is_zero(block);
        if is_zero && starts_zeroed {
            return;
        }
        if !is_zero {
            self.data.extend_from_slice(block);
        }
        let length = block.len() as u32;
        match self.extents.last_mut() {
            Some(last) if last.is_zero == is_zero && last.start + last.length == start => {
                last.length += length
            }
            _ => self.extents.push(ChangedExtent { start, length, is_zero }),
        }
    }

    /// The digest of what the region holds then.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The bytes that travel.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let packed =
            zstd::bulk::compress(&self.data, LEVEL).ok().filter(|packed| packed.len() < self.data.len());
        let (encoding, data) = packed.as_ref().map_or((0, &self.data), |packed| (1, packed));
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.extents.len() * EXTENT_BYTES + data.len());
        bytes.extend(MAGIC);
        bytes.extend([VERSION, encoding, 0, 0]);
        bytes.extend(self.digest.0);
        bytes.extend((self.extents.len() as u32).to_le_bytes());
        bytes.extend((self.data.len() as u32).to_le_bytes());
        for extent in &self.extents {
            for word in [extent.start, extent.length, u32::from(!extent.is_zero)] {
                bytes.extend(word.to_le_bytes());
            }
        }
        bytes.extend(data);
        bytes
    }

    /// Reads what has come from a peer.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] or [`ErrorKind::Version`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let broken = |what: &str| Error::invalid(format!("a region on its way: {what}"));
        let (head, rest) =
            bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(|| broken("it ends too early"))?;
        if !head.starts_with(MAGIC) {
            return Err(broken("this is none"));
        }
        if head[4] != VERSION {
            let detail = format!("regions come in version {}, and this site knows {VERSION}", head[4]);
            return Err(Error::new(ErrorKind::Version, detail));
        }
        let word = |bytes: &[u8], place: usize| {
            bytes
                .get(place..place + 4)
                .map_or(0, |word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        };
        let (count, data_bytes) = (word(head, 40) as usize, word(head, 44) as usize);
        if count > EXTENTS_MAX || data_bytes > REGION_SIZE_BYTES as usize {
            return Err(broken("it says that it is longer than a region"));
        }
        let (table, data) =
            rest.split_at_checked(count * EXTENT_BYTES).ok_or_else(|| broken("it ends too early"))?;
        let mut extents = Vec::with_capacity(count);
        let (mut end, mut in_data) = (0, 0);
        for entry in table.chunks_exact(EXTENT_BYTES) {
            let [start, length, kind] = [word(entry, 0), word(entry, 4), word(entry, 8)];
            let is_aligned =
                start.is_multiple_of(SECTOR_SIZE_BYTES) && length.is_multiple_of(SECTOR_SIZE_BYTES);
            let next = start.checked_add(length).filter(|&next| u64::from(next) <= REGION_SIZE_BYTES);
            let next = next.filter(|_| start >= end && length > 0 && is_aligned && kind <= 1);
            end = next.ok_or_else(|| broken("its extents make no sense"))?;
            in_data += if kind == 1 { length as usize } else { 0 };
            extents.push(ChangedExtent { start, length, is_zero: kind == 0 });
        }
        if in_data != data_bytes {
            return Err(broken("its extents do not fit its data"));
        }
        let data = match head[5] {
            0 => data.to_vec(),
            1 => zstd::bulk::decompress(data, data_bytes).map_err(|_| broken("its data does not expand"))?,
            _ => return Err(broken("its encoding is not known")),
        };
        if data.len() != data_bytes {
            return Err(broken("its data has another length than it says"));
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(&head[8..40]);
        Ok(Self { digest: Digest(digest), extents, data })
    }

    /// Makes the change in a region that holds what its base does.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it reaches beyond the region, [`ErrorKind::Damaged`] when the region is not what it must be
    /// then: the sender's base is not the receiver's, or bytes changed on the way.
    pub fn apply(&self, region: &mut [u8]) -> Result<()> {
        let mut data = &self.data[..];
        for extent in &self.extents {
            let start = extent.start as usize;
            let target = region.get_mut(start..start + extent.length as usize);
            let target =
                target.ok_or_else(|| Error::invalid("a change reaches beyond the end of the disk"))?;
            if extent.is_zero {
                target.fill(0);
            } else {
                let (piece, rest) = data.split_at(target.len());
                target.copy_from_slice(piece);
                data = rest;
            }
        }
        if Digest::of(region) != self.digest {
            return Err(Error::new(ErrorKind::Damaged, "a region is not what the sender says that it is"));
        }
        Ok(())
    }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| *word == [0; 16]) && rest.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests;
