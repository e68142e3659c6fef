//! Every decoder of foreign bytes. Whatever the bytes, these return.

use crate::{
    Digest, Error, Identity, KeptKey, KeyFile, Recipient, Result, config, frame, index, keys, log, pack,
    point, retain, tree,
};

/// A decoder of bytes that anybody may have written.
#[derive(Debug, Clone, Copy)]
pub struct Decoder {
    /// What it decodes.
    pub name: &'static str,
    /// Whether the bytes are that, and if not, why.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub decode: fn(&[u8]) -> Result<()>,
    /// Golden files that it accepts.
    pub examples: &'static [&'static str],
}

/// All of them.
pub const DECODERS: [Decoder; 17] = [
    decoder("config", config, &["config-v1.bin"]),
    decoder(
        "key-slot",
        |bytes| keys::slot::Slot::decode(bytes).map(drop),
        &["key-slot-passphrase-v1.bin", "key-slot-key-file-v1.bin", "key-slot-recipient-v1.bin"],
    ),
    decoder("key-file", text::<KeyFile>, &["key-file-v1.txt", "key-file-printed-v1.txt"]),
    decoder("identity", text::<Identity>, &["identity-v1.txt"]),
    decoder("recipient", text::<Recipient>, &["recipient-v1.txt"]),
    decoder("kept-key", text::<KeptKey>, &["master-key-v1.txt", "writer-key-v1.txt"]),
    decoder(
        "pack-header",
        |bytes| pack::decode_header(bytes).map(drop),
        &["pack-v1.bin", "pack-tree-v1.bin"],
    ),
    decoder("pack-trailer", pack_trailer, &["pack-v1.bin", "pack-tree-v1.bin"]),
    decoder("pack-directory", |bytes| pack::decode_directory(bytes).map(drop), &["pack-directory-v1.bin"]),
    decoder("frame", frame, &[]),
    decoder(
        "index-segment",
        |bytes| index::Segment::decode_body(bytes).map(drop),
        &["index-segment-body-v1.bin"],
    ),
    decoder("tree-leaf", |bytes| tree::Leaf::decode(bytes).map(drop), &["tree-leaf-v1.bin"]),
    decoder("tree-node", |bytes| tree::InnerNode::decode(bytes).map(drop), &["tree-node-v1.bin"]),
    decoder("point", |bytes| point::decode_body(bytes).map(drop), &["point-body-v1.json"]),
    decoder("log-entry", |bytes| log::entry::decode_body(bytes).map(drop), &["log-entry-body-v1.json"]),
    decoder("log-state", |bytes| log::state::decode_body(bytes).map(drop), &["log-state-body-v1.json"]),
    decoder("retentions", retentions, &["retentions-v1.bin"]),
];

const fn decoder(
    name: &'static str,
    decode: fn(&[u8]) -> Result<()>,
    examples: &'static [&'static str],
) -> Decoder {
    Decoder { name, decode, examples }
}

/// With the checksum made right: else it would keep nearly everything from what comes after it.
fn config(bytes: &[u8]) -> Result<()> {
    let Some((fields, _)) = bytes.split_last_chunk::<32>() else {
        return config::Config::decode(bytes).map(drop);
    };
    let mut bytes = fields.to_vec();
    bytes.extend(Digest::of(fields).0);
    config::Config::decode(&bytes).map(drop)
}

/// Without the checksum, for the same reason.
fn retentions(bytes: &[u8]) -> Result<()> {
    let content = bytes.split_last_chunk::<32>().map_or(bytes, |(content, _)| content);
    retain::decode_content(content).map(drop)
}

fn text<T: std::str::FromStr<Err = Error>>(bytes: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::invalid("the text is not UTF-8"))?;
    text.parse::<T>().map(drop)
}

/// The last bytes of a pack.
fn pack_trailer(bytes: &[u8]) -> Result<()> {
    let trailer = bytes.last_chunk().ok_or_else(|| Error::corrupt("a pack ends too early"))?;
    pack::decode_trailer(trailer).map(drop)
}

/// A frame's compressed bytes, of which nothing is known but the most that they may expand to.
fn frame(bytes: &[u8]) -> Result<()> {
    let head = frame::FrameHead {
        kind: frame::FrameKind::Data,
        encoding: frame::Encoding::Zstd,
        stored_bytes: 0,
        raw_bytes: frame::FRAME_BYTES_MAX,
    };
    frame::Decompressors::new().expand(&head, bytes).map(drop)
}
