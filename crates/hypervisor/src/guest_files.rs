//! Files put into a running guest, through its agent.

use async_trait::async_trait;
use bytes::Bytes;

use crate::Result;

/// What a guest's agent lets us do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestAbilities {
    /// Whether programs may be run: without them there are contents, and nothing else.
    pub programs: bool,
    /// Whether the guest is Windows.
    pub is_windows: bool,
}

/// Something to put into a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestItem {
    /// Where it goes: an absolute path as the guest's system writes it.
    pub path: String,
    /// What it is.
    pub kind: GuestItemKind,
    /// Permissions, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// The owner's number.
    pub user: u32,
    /// The group's number.
    pub group: u32,
    /// When the contents changed last: seconds since 1970-01-01T00:00:00Z, and nanoseconds on top.
    pub modified: (i64, u32),
}

/// What something is that is put into a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestItemKind {
    /// A directory. One that is there is as good, and stays as it is.
    Directory,
    /// A file of this length in bytes.
    File {
        /// Its length.
        size_bytes: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads.
        target: String,
    },
}

/// What became of something that was to be put into a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestItemOutcome {
    /// It is there, whole.
    Written {
        /// What could not be kept, a word each: owner, mode, times.
        lost: Vec<String>,
    },
    /// Something was there, and is as it was.
    Kept,
    /// It is not there.
    Failed {
        /// Why not.
        reason: String,
    },
}

/// Where the contents of files come from that are put into a guest.
#[async_trait]
pub trait GuestContent: Send + Sync {
    /// The next data of a file at or behind an offset, with its own offset; none where nothing but zeros follows. The file is
    /// one of the items that were handed over together, by its place among them.
    ///
    /// # Errors
    /// Why the file cannot be read, in words. It then does not get into the guest.
    async fn data(&self, item: usize, offset_bytes: u64)
    -> std::result::Result<Option<(u64, Bytes)>, String>;
}

/// A guest that takes files.
///
/// Contract:
/// - A file has its name only when all of it is there, where programs may be run. Until then it lies beside it in a directory
///   that only the guest's administrator may enter; what a dead process left of those is removed by the next one.
/// - What exists is kept, unless it is to be overwritten; a directory that exists is never replaced by anything.
/// - Where a directory should be, no symbolic link is taken for one.
#[async_trait]
pub trait GuestFiles: Send + Sync {
    /// What the agent lets us do.
    fn abilities(&self) -> GuestAbilities;

    /// Whether something is at each of these paths.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unreachable`] when the agent does not answer.
    async fn exist(&mut self, paths: &[String]) -> Result<Vec<bool>>;

    /// Puts items into the guest, in order; directories that are missing above them are made. Returns what became of each.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unreachable`] when the agent does not answer any more.
    async fn put(
        &mut self,
        items: &[GuestItem],
        content: &dyn GuestContent,
        overwrite: bool,
    ) -> Result<Vec<GuestItemOutcome>>;

    /// Gives directories that [`GuestFiles::put`] made their owners, modes and times, in this order.
    ///
    /// # Errors
    /// Those of [`GuestFiles::put`].
    async fn settle(&mut self, directories: &[GuestItem]) -> Result<Vec<GuestItemOutcome>>;
}
