//! Disks that are uploaded block by block.

use model::ByteCount;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The length of a block, in bytes; the last one of a disk may be shorter.
pub const UPLOAD_BLOCK_BYTES: u64 = 4 << 20;

/// Begins to upload a disk, or goes on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginUpload {
    /// The disk's name: letters, digits, '.', '_' and '-'.
    pub name: String,
    /// Its size, a multiple of 512.
    #[schema(value_type = u64)]
    pub size_bytes: ByteCount,
    /// The directory for its file, as an absolute path; defaults to one in the site's data directory.
    #[serde(default)]
    pub directory: Option<String>,
}

/// What the server has of an upload, a page at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadedBlocksView {
    /// The length of a block; the last one of a disk may be shorter.
    pub block_size_bytes: u64,
    /// Its durable blocks, in order. A block that is not there reads as zeros.
    pub blocks: Vec<UploadedBlockView>,
    /// The number from which to ask on; none when this was the last page.
    pub next: Option<u64>,
}

/// A block that is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadedBlockView {
    /// Its number: its offset divided by the length of a block.
    pub number: u64,
    /// The BLAKE3 digest of its bytes, in 64 hexadecimal digits.
    pub blake3: String,
}

/// Ends an upload: everything is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SealUpload {
    /// The BLAKE3 digest, in 64 hexadecimal digits, of the disk's size and then, for each block that was sent, in order, its
    /// number and the 32 bytes of its digest; numbers as 8 bytes, little-endian.
    pub blake3: String,
}
