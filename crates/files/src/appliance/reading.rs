//! Reads one mounted volume. Every path is resolved by the kernel with the volume's root as its root.

use std::{
    fs::File,
    io,
    ops::Range,
    os::{
        fd::{AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::FileExt as _,
    },
};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, SeekFrom, Statx, StatxFlags, StatxTimestamp,
        fstat, getxattr, listxattr, openat2, readlinkat, seek, statx,
    },
    io::Errno,
};

use crate::{
    Attribute, Digest, Entry, Kind, Page, ROOT_START, Time,
    limits::{ATTRIBUTES_MAX_BYTES, DIGEST_READ_MAX_BYTES, PAGE_BYTES, RANGES_MAX, READ_MAX_BYTES},
    protocol::entry_length,
};

/// `XATTR_LIST_MAX` and `XATTR_SIZE_MAX` of the kernel's `include/uapi/linux/limits.h`.
const ATTRIBUTE_MAX_BYTES: usize = 64 << 10;

/// What is digested at once, in bytes; only blocks that are not all zeros count.
const DIGEST_BLOCK_BYTES: u64 = 64 << 10;

/// `statx` counts allocated blocks of 512 bytes.
const BLOCK_BYTES: u64 = 512;

/// Opens what a path names.
fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags, follow: bool) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b".".as_slice() } else { path };
    let flags = flags | OFlags::CLOEXEC | if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    openat2(root, path, flags, Mode::empty(), resolve)
}

/// One entry with its attributes.
pub(super) fn stat(root: BorrowedFd<'_>, path: &[u8], follow: bool) -> Result<Entry, Errno> {
    let file = open(root, path, OFlags::PATH, follow)?;
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    describe(&file, name, true)
}

/// A page of a directory.
pub(super) fn list(
    root: BorrowedFd<'_>,
    path: &[u8],
    start: u64,
    with_attributes: bool,
) -> Result<Page, Errno> {
    let directory = open(root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK, true)?;
    let mut stream = Dir::read_from(&directory)?;
    if start != ROOT_START {
        stream.seek(start.cast_signed())?;
    }
    let mut page = Page { entries: Vec::new(), next: None };
    let mut length_bytes = 0;
    while let Some(found) = stream.read() {
        let found = found?;
        let name = found.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let file = openat2(
            &directory,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_XDEV,
        );
        let entry = describe(&file?, name, with_attributes)?;
        length_bytes += entry_length(&entry);
        page.entries.push(entry);
        if length_bytes >= PAGE_BYTES {
            page.next = Some(found.offset().cast_unsigned());
            break;
        }
    }
    Ok(page)
}

/// Some bytes of a file; fewer only at its end.
pub(super) fn read(
    root: BorrowedFd<'_>,
    path: &[u8],
    offset_bytes: u64,
    length_bytes: usize,
) -> Result<Vec<u8>, Errno> {
    let file = open_file(root, path)?;
    let mut buffer = vec![0; length_bytes.min(READ_MAX_BYTES)];
    let filled = fill(&file, &mut buffer, offset_bytes)?;
    buffer.truncate(filled);
    Ok(buffer)
}

/// Reads until a buffer is full or the file ends; returns how much was read.
fn fill(file: &File, buffer: &mut [u8], offset_bytes: u64) -> Result<usize, Errno> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset_bytes.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }
    Ok(filled)
}

/// The digest of a range of a file, or of its start where it holds much data: of each block that holds more than zeros, and
/// where it lies.
pub(super) fn digest(root: BorrowedFd<'_>, path: &[u8], range: Range<u64>) -> Result<Digest, Errno> {
    let file = open_file(root, path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; DIGEST_BLOCK_BYTES as usize];
    let (mut at, mut read_bytes) = (range.start, 0);
    while at < range.end && read_bytes < DIGEST_READ_MAX_BYTES {
        let data = match seek(&file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => range.end,
            Err(error) => return Err(error),
        };
        at = at.max(data - data % DIGEST_BLOCK_BYTES);
        if at >= range.end {
            at = range.end;
            break;
        }
        let end = (at - at % DIGEST_BLOCK_BYTES).saturating_add(DIGEST_BLOCK_BYTES).min(range.end);
        let block = buffer.get_mut(..(end - at) as usize).unwrap_or_default();
        if fill(&file, block, at)? < block.len() {
            return Err(Errno::IO);
        }
        if block.iter().any(|&byte| byte != 0) {
            hasher.update(&at.to_le_bytes());
            hasher.update(block);
        }
        read_bytes += end - at;
        at = end;
    }
    Ok(Digest { hash: *hasher.finalize().as_bytes(), end_bytes: at })
}

/// Where a file has data, from an offset on.
pub(super) fn data_ranges(
    root: BorrowedFd<'_>,
    path: &[u8],
    offset_bytes: u64,
) -> Result<(Vec<Range<u64>>, Option<u64>), Errno> {
    let file = open_file(root, path)?;
    let mut ranges = Vec::new();
    let mut at = offset_bytes;
    while ranges.len() < RANGES_MAX {
        let start = match seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok((ranges, None)),
            Err(error) => return Err(error),
        };
        let end = seek(&file, SeekFrom::Hole(start))?;
        if end <= start {
            return Err(Errno::IO);
        }
        ranges.push(start..end);
        at = end;
    }
    Ok((ranges, Some(at)))
}

/// A regular file, and nothing that could block.
fn open_file(root: BorrowedFd<'_>, path: &[u8]) -> Result<File, Errno> {
    let found = open(root, path, OFlags::PATH, true)?;
    match FileType::from_raw_mode(fstat(&found)?.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Errno::ISDIR),
        _ => return Err(Errno::INVAL),
    }
    open(root, path, OFlags::RDONLY | OFlags::NONBLOCK, true).map(File::from)
}

fn describe(file: &OwnedFd, name: &[u8], with_attributes: bool) -> Result<Entry, Errno> {
    let found = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?;
    let kind = match FileType::from_raw_mode(found.stx_mode.into()) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink { target: readlinkat(file, c"", Vec::new())?.into_bytes() },
        FileType::CharacterDevice => {
            Kind::CharacterDevice { major: found.stx_rdev_major, minor: found.stx_rdev_minor }
        }
        FileType::BlockDevice => {
            Kind::BlockDevice { major: found.stx_rdev_major, minor: found.stx_rdev_minor }
        }
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        _ => return Err(Errno::IO),
    };
    Ok(Entry {
        name: name.to_vec(),
        kind,
        mode: u32::from(found.stx_mode) & 0o7777,
        user: found.stx_uid,
        group: found.stx_gid,
        size_bytes: found.stx_size,
        allocated_bytes: found.stx_blocks.saturating_mul(BLOCK_BYTES),
        inode: found.stx_ino,
        links: found.stx_nlink.into(),
        modified: time(found.stx_mtime),
        accessed: time(found.stx_atime),
        changed: time(found.stx_ctime),
        created: created(&found),
        attributes: if with_attributes { attributes(file)? } else { Vec::new() },
    })
}

fn time(found: StatxTimestamp) -> Time {
    Time { seconds: found.tv_sec, nanoseconds: found.tv_nsec }
}

fn created(found: &Statx) -> Option<Time> {
    StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME).then(|| time(found.stx_btime))
}

/// Extended attributes. A file that was opened for its path alone has them under `/proc` only.
fn attributes(file: &OwnedFd) -> Result<Vec<Attribute>, Errno> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut names = vec![0; ATTRIBUTE_MAX_BYTES];
    let length = match listxattr(&path, names.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    names.truncate(length);
    let mut attributes = Vec::new();
    let mut total_bytes = 0;
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; ATTRIBUTE_MAX_BYTES];
        match getxattr(&path, name, value.as_mut_slice()) {
            Ok(length) => value.truncate(length),
            // One that is listed and cannot be had is the file system's own.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => continue,
            Err(error) => return Err(error),
        }
        total_bytes += name.len() + value.len();
        if total_bytes > ATTRIBUTES_MAX_BYTES {
            return Err(Errno::TOOBIG);
        }
        attributes.push(Attribute { name: name.to_vec(), value });
    }
    attributes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(attributes)
}

#[cfg(test)]
mod tests;
