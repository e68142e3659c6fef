//! Every decoder of foreign bytes. Whatever the bytes, these return.

use model::Timestamp;

use crate::{
    Result, Sequence,
    block::{BlockHead, HEAD_BYTES, RAW_BYTES_MAX},
    codec::Reader,
    index::{page, trailer::IndexTrailer},
    mark::{Mark, decode_marks},
    record::decode_records,
    replica::state::State,
    segment::{footer::Trailer, header::Header},
};

/// A decoder of bytes that anybody may have written.
#[derive(Debug, Clone, Copy)]
pub struct Decoder {
    /// What it decodes.
    pub name: &'static str,
    /// Whether the bytes are that, and if not, why. Checksums are not asked for: nearly everything would end at them.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub decode: fn(&[u8]) -> Result<()>,
    /// Golden files that it accepts.
    pub examples: &'static [&'static str],
}

/// All of them.
pub const DECODERS: [Decoder; 10] = [
    decoder(
        "segment-header",
        |bytes| {
            let content = unsealed(bytes);
            Header::decode_content(&mut Reader::new(content, "a segment's header"), bytes.len()).map(drop)
        },
        &["segment-header-v1.bin"],
    ),
    decoder(
        "segment-trailer",
        |bytes| Trailer::decode_content(&mut Reader::new(unsealed(bytes), "a segment's trailer")).map(drop),
        &["segment-trailer-v1.bin"],
    ),
    decoder("block-head", |bytes| BlockHead::decode(bytes).map(drop), &["block-v1.bin"]),
    decoder("block", block, &["block-v1.bin"]),
    decoder("records", records, &["records-v1.bin"]),
    decoder("mark", |bytes| Mark::decode(bytes).map(drop), &["mark-v1.bin"]),
    decoder("marks", |bytes| decode_marks(unsealed(bytes)).map(drop), &["marks-v1.bin"]),
    decoder("index-page", |bytes| page::decode_content(bytes).map(drop), &["index-page-v1.bin"]),
    decoder(
        "index-trailer",
        |bytes| {
            IndexTrailer::decode_content(&mut Reader::new(unsealed(bytes), "an index's trailer")).map(drop)
        },
        &["index-trailer-v1.bin"],
    ),
    decoder(
        "replica-state",
        |bytes| State::decode_content(&mut Reader::new(unsealed(bytes), "a replica's state")).map(drop),
        &["replica-state-v1.bin", "replica-state-v2.bin"],
    ),
];

const fn decoder(
    name: &'static str,
    decode: fn(&[u8]) -> Result<()>,
    examples: &'static [&'static str],
) -> Decoder {
    Decoder { name, decode, examples }
}

/// Without the checksum at the end.
fn unsealed(bytes: &[u8]) -> &[u8] {
    bytes.split_last_chunk::<32>().map_or(bytes, |(content, _)| content)
}

/// A whole block.
fn block(bytes: &[u8]) -> Result<()> {
    let head = BlockHead::decode(bytes)?;
    let raw = head.expand(bytes.get(HEAD_BYTES..).unwrap_or_default())?;
    head.records(&raw).map(drop)
}

/// What a block holds when it is expanded: the number of records is in the first four bytes here.
fn records(bytes: &[u8]) -> Result<()> {
    let mut reader = Reader::new(bytes, "records");
    let count = reader.u32()?;
    let raw = reader.take(reader.rest_bytes().min(RAW_BYTES_MAX as usize))?;
    let head = BlockHead {
        is_compressed: false,
        stored_bytes: raw.len() as u32,
        raw_bytes: raw.len() as u32,
        count,
        first: Sequence(1),
        first_time: Timestamp::from_microseconds(0),
        durable: Sequence(0),
        checksum: [0; 32],
    };
    decode_records(&head, raw).map(drop)
}
