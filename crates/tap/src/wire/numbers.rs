//! The journal's numbers as the control protocol writes them.

use journal::{DiskNumber, Generation, Position, SegmentNumber, Sequence, Usage};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(remote = "Sequence")]
pub(crate) struct SequenceNumber(u64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Generation")]
pub(crate) struct GenerationNumber(u64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "DiskNumber")]
pub(crate) struct DiskNumberNumber(u32);

#[derive(Serialize, Deserialize)]
#[serde(remote = "SegmentNumber")]
pub(crate) struct SegmentNumberNumber(u64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Position")]
pub(crate) struct PositionNumbers {
    #[serde(with = "SegmentNumberNumber")]
    segment: SegmentNumber,
    offset_bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Usage")]
pub(crate) struct UsageNumbers {
    memory_bytes: u64,
    disk_bytes: u64,
    #[serde(with = "SequenceNumber")]
    taken_through: Sequence,
    #[serde(with = "SequenceNumber")]
    durable_through: Sequence,
}
