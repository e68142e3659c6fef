//! Where a journal's files are: the seam to the file system, so that a simulation can lose what was not made durable.

mod directory;

use std::{io, sync::Arc};

use image::{ByteRange, Extent};

pub use directory::Directory;

/// A folder of files.
///
/// Contract:
/// - What is created, renamed or removed is so for everybody at once, but survives a crash only once `sync` has returned.
///   Until then each such change may or may not have happened.
/// - A rename replaces what had the name, whole: after a crash the name means the one or the other.
/// - All methods may be called at once from many threads.
pub trait Folder: Send + Sync {
    /// The names of all files.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Creates an empty file, or empties the one that is there.
    fn create(&self, name: &str) -> io::Result<Arc<dyn FolderFile>>;

    /// Opens a file to read and write.
    fn open(&self, name: &str) -> io::Result<Arc<dyn FolderFile>>;

    /// Gives a file another name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; those who have it open go on.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all names durable.
    fn sync(&self) -> io::Result<()>;
}

/// An open file.
///
/// Contract:
/// - What is written is read at once, but survives a crash only once `sync` has returned. Until then any part of it may be
///   there, in whole sectors of 512 bytes.
/// - Bytes that were never written read as zero.
pub trait FolderFile: Send + Sync {
    /// The length.
    fn length_bytes(&self) -> io::Result<u64>;

    /// Fills the buffer; of kind `UnexpectedEof` where the file ends before.
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of the data, and makes the file longer where it must.
    fn write_at(&self, offset_bytes: u64, data: &[u8]) -> io::Result<()>;

    /// Makes a range within the file read as zero, without room for it where the file system can.
    fn zero(&self, range: ByteRange) -> io::Result<()>;

    /// Cuts the file off, or makes it longer by zeros.
    fn set_length(&self, length_bytes: u64) -> io::Result<()>;

    /// Which parts of a range within the file are known to be zero.
    fn extents(&self, range: ByteRange) -> io::Result<Vec<Extent>>;

    /// Makes this file share the blocks of another one, whole, where the file system can. Whether it did.
    fn clone_of(&self, file: &std::fs::File) -> io::Result<bool> {
        let _ = file;
        Ok(false)
    }

    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;
}

/// Writes a small file so that its name means either all of it or what it meant before.
pub(crate) fn replace(folder: &dyn Folder, name: &str, bytes: &[u8]) -> io::Result<Arc<dyn FolderFile>> {
    let unfinished = unfinished(name);
    let file = folder.create(&unfinished)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    folder.rename(&unfinished, name)?;
    folder.sync()?;
    Ok(file)
}

/// What a file is called until it is whole.
pub(crate) fn unfinished(name: &str) -> String {
    format!("{name}{UNFINISHED}")
}

/// Removes what a dead process did not finish.
pub(crate) fn remove_unfinished(folder: &dyn Folder) -> io::Result<()> {
    for name in folder.names()?.iter().filter(|name| name.ends_with(UNFINISHED)) {
        folder.remove(name)?;
    }
    Ok(())
}

const UNFINISHED: &str = ".unfinished";

/// The whole of a file, if it is not longer than so much.
pub(crate) fn read_whole(file: &dyn FolderFile, length_max_bytes: u64) -> io::Result<Vec<u8>> {
    let length = file.length_bytes()?;
    if length > length_max_bytes {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too long"));
    }
    let mut bytes = vec![0; length as usize];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}
