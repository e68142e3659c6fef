//! Bounds on what comes out of the helper: it has read hostile disks.

/// The longest name of a file, in bytes: Linux's `NAME_MAX`, in UTF-8 three bytes for each of NTFS's 255 units.
pub(crate) const NAME_MAX_BYTES: usize = 255 * 3;

/// The longest path and target of a symbolic link, in bytes: Linux's `PATH_MAX`.
pub(crate) const PATH_MAX_BYTES: usize = 4096;

/// How deep directories may lie in one another. Deeper ones are an error: a damaged file system can hold loops.
pub(crate) const DEPTH_MAX: usize = 512;

/// The longest message, in bytes: the largest attributes of one entry and some more.
pub(crate) const MESSAGE_MAX_BYTES: usize = 4 << 20;

/// Bytes of one read.
pub(crate) const READ_MAX_BYTES: usize = 1 << 20;

/// A page of a directory ends with the entry that reaches this size.
pub(crate) const PAGE_BYTES: usize = 128 << 10;

/// All extended attributes of one entry, in bytes; Linux's `XATTR_SIZE_MAX` bounds each to 64 KiB.
pub(crate) const ATTRIBUTES_MAX_BYTES: usize = 1 << 20;

/// Disks of one machine: the slots of the helper's bus.
pub(crate) const DISKS_MAX: usize = 24;

/// Volumes of one machine.
pub(crate) const VOLUMES_MAX: usize = 1024;

/// Data ranges in one answer.
pub(crate) const RANGES_MAX: usize = 4096;

/// Entries of one directory. A damaged one can be listed for ever.
pub(crate) const DIRECTORY_ENTRIES_MAX: usize = 1 << 26;

/// What is read of a file for one digest, in bytes, so that no answer takes long.
pub(crate) const DIGEST_READ_MAX_BYTES: u64 = 64 << 20;
