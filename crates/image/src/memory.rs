//! Images and targets in memory: the reference implementations.

use std::sync::Mutex;

use async_trait::async_trait;

use crate::{ByteRange, DiskImage, DiskTarget, Error, ErrorKind, Extent, ExtentKind, Result};

/// Granularity in which the memory image tells data from zeros, in bytes.
const BLOCK_SIZE_BYTES: usize = 4096;

/// An image of bytes in memory. Zero blocks of 4 KiB are reported as zero extents.
#[derive(Debug, Clone)]
pub struct MemoryImage {
    bytes: Vec<u8>,
}

impl MemoryImage {
    /// The image of these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }
}

#[async_trait]
impl DiskImage for MemoryImage {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        range.check_within(self.size_bytes())?;
        let mut extents: Vec<Extent> = Vec::new();
        let mut offset_bytes = range.offset_bytes;
        while offset_bytes < range.end_bytes() {
            let block_end_bytes = (offset_bytes / BLOCK_SIZE_BYTES as u64 + 1) * BLOCK_SIZE_BYTES as u64;
            let piece = ByteRange::between(offset_bytes, block_end_bytes.min(range.end_bytes()));
            let bytes = &self.bytes[piece.offset_bytes as usize..piece.end_bytes() as usize];
            let kind = if bytes.iter().all(|&byte| byte == 0) { ExtentKind::Zero } else { ExtentKind::Data };
            match extents.last_mut() {
                Some(last) if last.kind == kind => last.range.length_bytes += piece.length_bytes,
                _ => extents.push(Extent { range: piece, kind }),
            }
            offset_bytes = piece.end_bytes();
        }
        Ok(extents)
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<()> {
        let range = checked(offset_bytes, buffer.len(), self.size_bytes())?;
        buffer.copy_from_slice(&self.bytes[range]);
        Ok(())
    }
}

/// A target in memory.
#[derive(Debug)]
pub struct MemoryTarget {
    bytes: Mutex<Vec<u8>>,
    size_bytes: u64,
}

impl MemoryTarget {
    /// A target of zeros.
    #[must_use]
    pub fn new(size_bytes: u64) -> Self {
        Self { bytes: Mutex::new(vec![0; size_bytes as usize]), size_bytes }
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn edit(&self, edit: impl FnOnce(&mut Vec<u8>)) {
        edit(&mut self.bytes.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

#[async_trait]
impl DiskTarget for MemoryTarget {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn starts_zeroed(&self) -> bool {
        true
    }

    async fn write_at(&self, offset_bytes: u64, data: &[u8]) -> Result<()> {
        let range = checked(offset_bytes, data.len(), self.size_bytes)?;
        self.edit(|bytes| bytes[range].copy_from_slice(data));
        Ok(())
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        range.check_within(self.size_bytes)?;
        self.edit(|bytes| bytes[range.offset_bytes as usize..range.end_bytes() as usize].fill(0));
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

fn checked(offset_bytes: u64, length: usize, size_bytes: u64) -> Result<std::ops::Range<usize>> {
    let end_bytes = offset_bytes.checked_add(length as u64).filter(|&end_bytes| end_bytes <= size_bytes);
    match end_bytes {
        Some(end_bytes) => Ok(offset_bytes as usize..end_bytes as usize),
        None => Err(Error::new(
            ErrorKind::OutOfBounds,
            format!("{length} bytes at {offset_bytes} of {size_bytes}"),
        )),
    }
}
