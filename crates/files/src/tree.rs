//! The seam between what reads file systems and what is done with their files.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Entry, FilePath, Result, Volume};

/// Where a listing starts.
pub const ROOT_START: u64 = 0;

/// Some entries of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries, in the file system's order, without `.` and `..`.
    pub entries: Vec<Entry>,
    /// Where the next page starts; none at the end.
    pub next: Option<u64>,
}

/// What a file has in a range, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// The same for the same bytes from the same offset on, whether zeros are stored or holes.
    pub hash: [u8; 32],
    /// Where the range ends that it stands for: not further than was asked, and not before its start.
    pub end_bytes: u64,
}

/// The files of the disks of one machine, at one moment. Nothing in it ever changes.
///
/// Contract:
/// - Symbolic links on the way to a file are followed inside their volume, whose root is theirs; the last name of a path is
///   only followed where that is asked for.
/// - Every name, target and size of an answer has been checked: a name is one name, and nothing is longer than Linux allows.
/// - Damage is an error of the one call that met it, never invented data.
#[async_trait]
pub trait FileTree: Send + Sync {
    /// What holds files, and what might if it could be opened. Sorted by name.
    fn volumes(&self) -> &[Volume];

    /// One entry with its extended attributes.
    async fn stat(&self, path: &FilePath, follow: bool) -> Result<Entry>;

    /// A page of a directory that starts at [`ROOT_START`] or where an earlier page said, with extended attributes or
    /// without.
    async fn list(&self, path: &FilePath, start: u64, with_attributes: bool) -> Result<Page>;

    /// At most `length_bytes` bytes of a file, perhaps fewer; none at its end and behind it.
    async fn read(&self, path: &FilePath, offset_bytes: u64, length_bytes: usize) -> Result<Bytes>;

    /// Where a file has data, from an offset on: sorted, apart, and between them and after them it reads as zero. An answer
    /// that ends before the file says from where to ask again.
    async fn data_ranges(&self, path: &FilePath, offset_bytes: u64)
    -> Result<(Vec<Range<u64>>, Option<u64>)>;

    /// The digest of a file's bytes in a range, which lies within the file; of the start of that range where it holds much
    /// data. It is made where the file is read, so that its bytes go nowhere.
    async fn digest(&self, path: &FilePath, range: Range<u64>) -> Result<Digest>;
}

pub(crate) mod memory;
