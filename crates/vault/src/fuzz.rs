//! One entry for each decoder of foreign bytes. Whatever the bytes, these return.

use crate::{config, frame, index, keys, log, pack, point, tree};

/// A pack's directory, after it was decrypted.
pub fn pack_directory(bytes: &[u8]) -> bool {
    pack::decode_directory(bytes).is_ok()
}

/// A pack's trailer.
pub fn pack_trailer(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|bytes| pack::decode_trailer(bytes).is_ok())
}

/// A pack's first bytes.
pub fn pack_header(bytes: &[u8]) -> bool {
    pack::decode_header(bytes).is_ok()
}

/// A frame's bytes, after they were decrypted.
pub fn frame(bytes: &[u8]) -> bool {
    let head = frame::FrameHead {
        kind: frame::FrameKind::Data,
        encoding: frame::Encoding::Zstd,
        stored_bytes: 0,
        raw_bytes: frame::FRAME_BYTES_MAX,
    };
    frame::Decompressors::new().expand(&head, bytes).is_ok()
}

/// An index segment, after it was decrypted.
pub fn index_segment(bytes: &[u8]) -> bool {
    index::Segment::decode_body(bytes).is_ok()
}

/// A leaf of a disk map.
pub fn tree_leaf(bytes: &[u8]) -> bool {
    tree::Leaf::decode(bytes).is_ok()
}

/// An inner node of a disk map.
pub fn tree_node(bytes: &[u8]) -> bool {
    tree::InnerNode::decode(bytes).is_ok()
}

/// A config.
pub fn config(bytes: &[u8]) -> bool {
    config::Config::decode(bytes).is_ok()
}

/// A key slot.
pub fn key_slot(bytes: &[u8]) -> bool {
    keys::slot::Slot::decode(bytes).is_ok()
}

/// A key file's text.
pub fn key_file(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.parse::<crate::KeyFile>().is_ok())
}

/// A recipient's text.
pub fn recipient(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.parse::<crate::Recipient>().is_ok())
}

/// A key's text as a server keeps it.
pub fn kept_key(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.parse::<crate::KeptKey>().is_ok())
}

/// A recovery point, after it was decrypted.
pub fn point(bytes: &[u8]) -> bool {
    point::decode_body(bytes).is_ok()
}

/// An entry of the log, after it was decrypted.
pub fn log_entry(bytes: &[u8]) -> bool {
    log::entry::decode_body(bytes).is_ok()
}

/// A state of the log, after it was decrypted.
pub fn log_state(bytes: &[u8]) -> bool {
    log::state::decode_body(bytes).is_ok()
}

#[cfg(test)]
mod tests;
