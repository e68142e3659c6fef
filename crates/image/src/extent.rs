//! Ranges of bytes, and what is known of them.

use crate::{Error, ErrorKind, Result};

/// A range of bytes on a disk. May be empty; never reaches past `u64::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// First byte.
    pub offset_bytes: u64,
    /// Number of bytes.
    pub length_bytes: u64,
}

impl ByteRange {
    /// The range of `length_bytes` from `offset_bytes` on.
    #[must_use]
    pub fn new(offset_bytes: u64, length_bytes: u64) -> Self {
        debug_assert!(offset_bytes.checked_add(length_bytes).is_some(), "a range ends within 64 bits");
        Self { offset_bytes, length_bytes }
    }

    /// The range from `start_bytes` up to, not including, `end_bytes`.
    #[must_use]
    pub fn between(start_bytes: u64, end_bytes: u64) -> Self {
        Self { offset_bytes: start_bytes, length_bytes: end_bytes.saturating_sub(start_bytes) }
    }

    /// The first byte after the range.
    #[must_use]
    pub fn end_bytes(self) -> u64 {
        self.offset_bytes.saturating_add(self.length_bytes)
    }

    /// Whether there is no byte in the range.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.length_bytes == 0
    }

    /// The bytes that both ranges hold; empty where they do not meet.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        let start_bytes = self.offset_bytes.max(other.offset_bytes);
        Self::between(start_bytes, self.end_bytes().min(other.end_bytes()))
    }

    /// Fails unless the range lies within a disk of this size.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfBounds`].
    pub fn check_within(self, size_bytes: u64) -> Result<()> {
        match self.offset_bytes.checked_add(self.length_bytes) {
            Some(end_bytes) if end_bytes <= size_bytes => Ok(()),
            _ => Err(Error::new(
                ErrorKind::OutOfBounds,
                format!(
                    "{} bytes at {} of a disk of {size_bytes} bytes",
                    self.length_bytes, self.offset_bytes
                ),
            )),
        }
    }
}

/// What is known of an extent without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExtentKind {
    /// May hold anything.
    Data,
    /// Reads as zero.
    Zero,
}

/// A range of bytes of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Where.
    pub range: ByteRange,
    /// What.
    pub kind: ExtentKind,
}

/// Sorts ranges and joins those that touch or overlap; drops empty ones.
#[must_use]
pub fn coalesce(mut ranges: Vec<ByteRange>) -> Vec<ByteRange> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.offset_bytes);
    let mut joined: Vec<ByteRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.offset_bytes <= last.end_bytes() => {
                *last = ByteRange::between(last.offset_bytes, last.end_bytes().max(range.end_bytes()));
            }
            _ => joined.push(range),
        }
    }
    joined
}
