//! Reading and writing of binary layouts. All numbers are little-endian.

use crate::{Error, ErrorKind, Result};

/// Six letters that say what an object is.
pub(crate) type Magic = [u8; 6];

/// Bytes of a magic and a version.
pub(crate) const PREAMBLE_BYTES: usize = 8;

/// Starts an object.
pub(crate) fn preamble(magic: Magic, version: u16) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend(version.to_le_bytes());
    bytes
}

/// Reads foreign bytes from front to back; every step may fail, none may panic.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    /// What is read, for messages: "a pack's directory".
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, what }
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
        if self.array::<6>()? != magic {
            return Err(self.error("does not start with its magic"));
        }
        let found = self.u16()?;
        if found == version {
            return Ok(());
        }
        let context =
            format!("{} of format version {found}; this program reads version {version}", self.what);
        Err(Error::new(ErrorKind::UnsupportedVersion, context)
            .with_guidance("use a newer release of Holdfast for this vault"))
    }

    /// Fails unless everything has been read.
    pub(crate) fn finish(self) -> Result<()> {
        if self.bytes.is_empty() { Ok(()) } else { Err(self.error("goes on after its end")) }
    }

    pub(crate) fn error(&self, why: &str) -> Error {
        Error::corrupt(format!("{} {why}", self.what))
    }
}
