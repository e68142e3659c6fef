//! Parts of a journal in a frame: where each belongs and how long it is in the head, their bytes in the body.

use bytes::Bytes;
use journal::{Part, PartContent, Position};
use serde::{Deserialize, Serialize};

use super::numbers::PositionNumbers;

/// One part, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartHead {
    #[serde(with = "PositionNumbers")]
    position: Position,
    kind: PartKind,
    length_bytes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PartKind {
    Header,
    Block,
    Seal,
}

/// The head and the bytes of each part.
pub(crate) fn split(parts: &[Part]) -> (Vec<PartHead>, Vec<&[u8]>) {
    let halves = parts.iter().map(|part| {
        let (kind, bytes): (_, &[u8]) = match &part.content {
            PartContent::Header(bytes) => (PartKind::Header, bytes),
            PartContent::Block(bytes) => (PartKind::Block, bytes),
            PartContent::Seal(digest) => (PartKind::Seal, digest),
        };
        (PartHead { position: part.position, kind, length_bytes: bytes.len() as u32 }, bytes)
    });
    halves.unzip()
}

/// The parts again; none where the lengths are not those of the body.
pub(crate) fn join(heads: &[PartHead], mut body: Bytes) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for head in heads {
        let length = head.length_bytes as usize;
        if length > body.len() {
            return None;
        }
        let bytes = body.split_to(length);
        let content = match head.kind {
            PartKind::Header => PartContent::Header(bytes),
            PartKind::Block => PartContent::Block(bytes),
            PartKind::Seal => PartContent::Seal(bytes[..].try_into().ok()?),
        };
        parts.push(Part { position: head.position, content });
    }
    body.is_empty().then_some(parts)
}
