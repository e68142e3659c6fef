//! Parts: what is sent from the source's journal to the target's, so that both have the same bytes.

use bytes::Bytes;

use crate::{SegmentNumber, codec::Checksum};

/// A place in a journal: a byte of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The segment.
    pub segment: SegmentNumber,
    /// Bytes of it that lie before.
    pub offset_bytes: u64,
}

/// A piece of a journal as it is shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where it belongs.
    pub position: Position,
    /// What is there.
    pub content: PartContent,
}

/// What is shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartContent {
    /// The start of a segment.
    Header(Bytes),
    /// One block.
    Block(Bytes),
    /// The segment ends here. Its footer, which is not sent, has this digest: who has the same blocks makes the same.
    Seal(Checksum),
}

impl Part {
    /// Bytes that it takes on its way, about.
    #[must_use]
    pub fn length_bytes(&self) -> u64 {
        match &self.content {
            PartContent::Header(bytes) | PartContent::Block(bytes) => bytes.len() as u64,
            PartContent::Seal(digest) => digest.len() as u64,
        }
    }
}
