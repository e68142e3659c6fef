//! Entries as their views.

use api::{FileKind, FileView};
use files::{Entry, FilePath, Kind, Time};
use model::{ByteCount, Timestamp};
use serde::Serialize;

/// A view as a line of a listing.
pub(super) fn line(view: &impl Serialize) -> Vec<u8> {
    // A view is plain data: writing it as JSON cannot fail.
    let mut line = serde_json::to_vec(view).unwrap_or_default();
    line.push(b'\n');
    line
}

/// A path as text, and its bytes where it is none.
pub(super) fn path_text(path: &FilePath) -> (String, Option<String>) {
    let bytes = path.to_bytes();
    let hex = || bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    (text(&bytes), std::str::from_utf8(&bytes).is_err().then(hex))
}

pub(super) fn kind(kind: &Kind) -> FileKind {
    match kind {
        Kind::File => FileKind::File,
        Kind::Directory => FileKind::Directory,
        Kind::Symlink { .. } => FileKind::Symlink,
        Kind::CharacterDevice { .. } => FileKind::CharacterDevice,
        Kind::BlockDevice { .. } => FileKind::BlockDevice,
        Kind::Fifo => FileKind::Fifo,
        Kind::Socket => FileKind::Socket,
    }
}

/// Where a symbolic link leads.
pub(super) fn target(kind: &Kind) -> Option<String> {
    match kind {
        Kind::Symlink { target } => Some(text(target)),
        _ => None,
    }
}

pub(super) fn file(path: &FilePath, entry: &Entry) -> FileView {
    let (path, path_hex) = path_text(path);
    FileView {
        path,
        path_hex,
        kind: kind(&entry.kind),
        mode: format!("{:04o}", entry.mode),
        user: entry.user,
        group: entry.group,
        size_bytes: ByteCount(entry.size_bytes),
        allocated_bytes: ByteCount(entry.allocated_bytes),
        modified_at: moment(entry.modified),
        target: target(&entry.kind),
    }
}

/// A time, where it can be written.
pub(super) fn moment(time: Time) -> Option<Timestamp> {
    let microseconds = time.seconds.checked_mul(1_000_000)?;
    let microseconds = microseconds.checked_add((time.nanoseconds / 1000).into())?;
    Some(Timestamp::from_microseconds(microseconds))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
