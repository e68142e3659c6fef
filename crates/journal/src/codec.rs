//! Reading and writing of binary layouts. All numbers are little-endian.

use std::ops::RangeInclusive;

use model::Timestamp;

use crate::{Error, ErrorKind, Result};

/// Six letters that say what follows.
pub(crate) type Magic = [u8; 6];

/// A BLAKE3 digest.
pub(crate) type Checksum = [u8; 32];

/// Starts a structure.
pub(crate) fn preamble(magic: Magic, version: u16) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend(version.to_le_bytes());
    bytes
}

/// Ends a structure with the checksum of what is before it.
pub(crate) fn seal(bytes: &mut Vec<u8>) -> Checksum {
    let checksum = *blake3::hash(bytes).as_bytes();
    bytes.extend(checksum);
    checksum
}

/// Reads foreign bytes from front to back; every step may fail, none may panic.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    /// What is read, for messages: "a segment's header".
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, what }
    }

    /// Reads a structure that ends with the checksum of what is before it, and returns the checksum.
    pub(crate) fn sealed(bytes: &'a [u8], what: &'static str) -> Result<(Self, Checksum)> {
        let whole = Self::new(bytes, what);
        let (content, checksum) =
            bytes.split_last_chunk::<32>().ok_or_else(|| whole.error("ends too early"))?;
        if blake3::hash(content).as_bytes() != checksum {
            return Err(whole.error("does not have its checksum"));
        }
        Ok((Self::new(content, what), *checksum))
    }

    /// How many bytes are left.
    pub(crate) fn rest_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) =
            self.bytes.split_at_checked(length).ok_or_else(|| self.error("ends too early"))?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH]> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or_else(|| self.error("ends too early"))?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp> {
        self.array().map(i64::from_le_bytes).map(Timestamp::from_microseconds)
    }

    /// Reads a text with its length before it, and what the text means.
    pub(crate) fn text<T: std::str::FromStr>(&mut self) -> Result<T> {
        let length = self.u16()?;
        let bytes = self.take(usize::from(length))?;
        let text = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
        text.ok_or_else(|| self.error("holds a name that is none"))
    }

    /// Reads an id of 16 characters.
    pub(crate) fn id<T: std::str::FromStr>(&mut self) -> Result<T> {
        let bytes = self.array::<16>()?;
        let id = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
        id.ok_or_else(|| self.error("holds an id that is none"))
    }

    /// Reads a count of entries, and refuses one that the bytes left cannot hold: it may be used to allocate.
    pub(crate) fn count(&mut self, entry_bytes: usize) -> Result<usize> {
        let count = self.u32()? as usize;
        if count.checked_mul(entry_bytes).is_none_or(|bytes| bytes > self.bytes.len()) {
            return Err(self.error("counts more entries than it holds"));
        }
        Ok(count)
    }

    /// Checks what the bytes are, and that their version is the one that this program reads.
    pub(crate) fn preamble(&mut self, magic: Magic, version: u16) -> Result<()> {
        self.preamble_up_to(magic, version..=version).map(drop)
    }

    /// Checks what the bytes are, and that their version is one that this program reads, which is returned.
    pub(crate) fn preamble_up_to(&mut self, magic: Magic, versions: RangeInclusive<u16>) -> Result<u16> {
        if self.array::<6>()? != magic {
            return Err(self.error("does not start with its magic"));
        }
        let found = self.u16()?;
        if versions.contains(&found) {
            return Ok(found);
        }
        let newest = versions.end();
        let context = format!("{} of format version {found}; this program reads version {newest}", self.what);
        Err(Error::new(ErrorKind::UnsupportedVersion, context)
            .with_guidance("use a newer release of Holdfast for this journal"))
    }

    /// Fails unless everything has been read.
    pub(crate) fn finish(self) -> Result<()> {
        if self.bytes.is_empty() { Ok(()) } else { Err(self.error("goes on after its end")) }
    }

    pub(crate) fn error(&self, why: &str) -> Error {
        Error::corrupt(format!("{} {why}", self.what))
    }
}

pub(crate) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
}

pub(crate) fn put_time(bytes: &mut Vec<u8>, time: Timestamp) {
    bytes.extend(time.as_microseconds().to_le_bytes());
}
