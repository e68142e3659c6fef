//! What the helper answers.

use std::ops::Range;

use super::{Malformed, Reader, Writer};
use crate::{
    Attribute, Digest, Entry, Kind, Page, Time, Volume, VolumeState,
    limits::{ATTRIBUTES_MAX_BYTES, NAME_MAX_BYTES, PATH_MAX_BYTES, RANGES_MAX, READ_MAX_BYTES, VOLUMES_MAX},
    path::is_name,
};

/// Longest text that the helper says, in bytes.
const TEXT_MAX_BYTES: usize = 1024;

/// Entries in one page: a page of [`crate::limits::PAGE_BYTES`] holds fewer.
const PAGE_ENTRIES_MAX: usize = 4096;

/// Why the helper could not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    NotFound = 1,
    WrongKind = 2,
    Locked = 3,
    Unsupported = 4,
    Damaged = 5,
    Failed = 6,
}

/// What the helper answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Failed { kind: FailureKind, reason: String },
    Volumes(Vec<Volume>),
    Entry(Box<Entry>),
    Page(Page),
    Bytes(Vec<u8>),
    Ranges { ranges: Vec<Range<u64>>, next: Option<u64> },
    Digest(Digest),
    Grown { file_system: String, size_bytes: u64 },
}

impl Answer {
    /// A failure, in at most as many words as the host takes.
    pub(crate) fn failure(kind: FailureKind, reason: &str) -> Self {
        let end = reason.floor_char_boundary(TEXT_MAX_BYTES);
        Self::Failed { kind, reason: reason[..end].to_owned() }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Self::Failed { kind, reason } => {
                writer.u8(0);
                writer.u8(*kind as u8);
                writer.bytes(reason.as_bytes());
            }
            Self::Volumes(volumes) => {
                writer.u8(1);
                writer.count(volumes.len());
                volumes.iter().for_each(|volume| write_volume(&mut writer, volume));
            }
            Self::Entry(entry) => {
                writer.u8(2);
                write_entry(&mut writer, entry);
            }
            Self::Page(Page { entries, next }) => {
                writer.u8(3);
                writer.count(entries.len());
                entries.iter().for_each(|entry| write_entry(&mut writer, entry));
                write_next(&mut writer, *next);
            }
            Self::Bytes(bytes) => {
                writer.u8(4);
                writer.bytes(bytes);
            }
            Self::Ranges { ranges, next } => {
                writer.u8(5);
                writer.count(ranges.len());
                for range in ranges {
                    writer.u64(range.start);
                    writer.u64(range.end);
                }
                write_next(&mut writer, *next);
            }
            Self::Digest(Digest { hash, end_bytes }) => {
                writer.u8(6);
                writer.raw(hash);
                writer.u64(*end_bytes);
            }
            Self::Grown { file_system, size_bytes } => {
                writer.u8(7);
                writer.bytes(file_system.as_bytes());
                writer.u64(*size_bytes);
            }
        }
        writer.finish()
    }

    /// Reads and checks an answer: nothing that the rest of the host takes for granted is taken from the helper unchecked.
    pub(crate) fn decode(message: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(message);
        let answer = match reader.u8()? {
            0 => Self::Failed { kind: read_failure_kind(&mut reader)?, reason: reader.text(TEXT_MAX_BYTES)? },
            1 => Self::Volumes(reader.list(VOLUMES_MAX, read_volume)?),
            2 => Self::Entry(Box::new(read_entry(&mut reader)?)),
            3 => Self::Page(Page {
                entries: reader.list(PAGE_ENTRIES_MAX, read_entry)?,
                next: read_next(&mut reader)?,
            }),
            4 => Self::Bytes(reader.bytes(READ_MAX_BYTES)?.to_vec()),
            5 => read_ranges(&mut reader)?,
            6 => Self::Digest(Digest { hash: reader.array()?, end_bytes: reader.u64()? }),
            7 => {
                let file_system = reader.text(NAME_MAX_BYTES)?;
                Self::Grown { file_system, size_bytes: reader.u64()? }
            }
            _ => return Err(Malformed("an unknown answer")),
        };
        reader.finish()?;
        Ok(answer)
    }
}

/// How many bytes an entry takes.
pub(crate) fn entry_length(entry: &Entry) -> usize {
    let mut writer = Writer::default();
    write_entry(&mut writer, entry);
    writer.len()
}

fn read_failure_kind(reader: &mut Reader<'_>) -> Result<FailureKind, Malformed> {
    Ok(match reader.u8()? {
        1 => FailureKind::NotFound,
        2 => FailureKind::WrongKind,
        3 => FailureKind::Locked,
        4 => FailureKind::Unsupported,
        5 => FailureKind::Damaged,
        _ => FailureKind::Failed,
    })
}

fn write_volume(writer: &mut Writer, volume: &Volume) {
    writer.bytes(volume.name.as_bytes());
    writer.bytes(volume.content.as_bytes());
    writer.u64(volume.size_bytes);
    match &volume.state {
        VolumeState::Readable => writer.u8(0),
        VolumeState::Locked => writer.u8(1),
        VolumeState::Unreadable { reason } => {
            writer.u8(2);
            writer.bytes(&reason.as_bytes()[..reason.floor_char_boundary(TEXT_MAX_BYTES)]);
        }
    }
}

fn read_volume(reader: &mut Reader<'_>) -> Result<Volume, Malformed> {
    let name = reader.text(NAME_MAX_BYTES)?;
    let content = reader.text(TEXT_MAX_BYTES)?;
    if !is_name(name.as_bytes()) || name.chars().chain(content.chars()).any(char::is_control) {
        return Err(Malformed("a volume's name is none"));
    }
    let size_bytes = reader.u64()?;
    let state = match reader.u8()? {
        0 => VolumeState::Readable,
        1 => VolumeState::Locked,
        2 => VolumeState::Unreadable { reason: reader.text(TEXT_MAX_BYTES)? },
        _ => return Err(Malformed("a volume's state is none")),
    };
    Ok(Volume { name, content, size_bytes, state })
}

fn write_entry(writer: &mut Writer, entry: &Entry) {
    writer.bytes(&entry.name);
    match &entry.kind {
        Kind::File => writer.u8(0),
        Kind::Directory => writer.u8(1),
        Kind::Symlink { target } => {
            writer.u8(2);
            writer.bytes(target);
        }
        Kind::CharacterDevice { major, minor } => write_device(writer, 3, *major, *minor),
        Kind::BlockDevice { major, minor } => write_device(writer, 4, *major, *minor),
        Kind::Fifo => writer.u8(5),
        Kind::Socket => writer.u8(6),
    }
    writer.u32(entry.mode);
    writer.u32(entry.user);
    writer.u32(entry.group);
    writer.u64(entry.size_bytes);
    writer.u64(entry.allocated_bytes);
    writer.u64(entry.inode);
    writer.u64(entry.links);
    for time in [entry.modified, entry.accessed, entry.changed] {
        write_time(writer, time);
    }
    writer.u8(entry.created.is_some().into());
    entry.created.into_iter().for_each(|time| write_time(writer, time));
    writer.count(entry.attributes.len());
    for attribute in &entry.attributes {
        writer.bytes(&attribute.name);
        writer.bytes(&attribute.value);
    }
}

fn write_device(writer: &mut Writer, tag: u8, major: u32, minor: u32) {
    writer.u8(tag);
    writer.u32(major);
    writer.u32(minor);
}

fn read_entry(reader: &mut Reader<'_>) -> Result<Entry, Malformed> {
    let name = reader.bytes(NAME_MAX_BYTES)?.to_vec();
    let kind = match reader.u8()? {
        0 => Kind::File,
        1 => Kind::Directory,
        2 => Kind::Symlink { target: read_target(reader)? },
        3 => Kind::CharacterDevice { major: reader.u32()?, minor: reader.u32()? },
        4 => Kind::BlockDevice { major: reader.u32()?, minor: reader.u32()? },
        5 => Kind::Fifo,
        6 => Kind::Socket,
        _ => return Err(Malformed("an entry is of no kind")),
    };
    let entry = Entry {
        name,
        kind,
        mode: reader.u32()? & 0o7777,
        user: reader.u32()?,
        group: reader.u32()?,
        size_bytes: reader.u64()?,
        allocated_bytes: reader.u64()?,
        inode: reader.u64()?,
        links: reader.u64()?,
        modified: read_time(reader)?,
        accessed: read_time(reader)?,
        changed: read_time(reader)?,
        created: if reader.u8()? == 0 { None } else { Some(read_time(reader)?) },
        attributes: reader.list(ATTRIBUTES_MAX_BYTES, read_attribute)?,
    };
    // The path's own last name stays with the host: an entry that was asked for may have none.
    let is_bad = !entry.name.is_empty() && !is_name(&entry.name);
    if is_bad || i64::try_from(entry.size_bytes).is_err() {
        return Err(Malformed("an entry's name or size is none"));
    }
    Ok(entry)
}

fn read_target(reader: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    let target = reader.bytes(PATH_MAX_BYTES)?;
    if target.is_empty() || target.contains(&0) {
        return Err(Malformed("a symbolic link leads nowhere"));
    }
    Ok(target.to_vec())
}

fn read_attribute(reader: &mut Reader<'_>) -> Result<Attribute, Malformed> {
    let name = reader.bytes(NAME_MAX_BYTES)?.to_vec();
    // An equals sign or a line's end would be read as something else where the name is written as text.
    if name.is_empty() || name.iter().any(|byte| b"\0=\n".contains(byte)) {
        return Err(Malformed("an attribute's name is none"));
    }
    Ok(Attribute { name, value: reader.bytes(ATTRIBUTES_MAX_BYTES)?.to_vec() })
}

fn write_time(writer: &mut Writer, time: Time) {
    writer.u64(time.seconds.cast_unsigned());
    writer.u32(time.nanoseconds);
}

fn read_time(reader: &mut Reader<'_>) -> Result<Time, Malformed> {
    let time = Time { seconds: reader.u64()?.cast_signed(), nanoseconds: reader.u32()? };
    if time.nanoseconds >= 1_000_000_000 {
        return Err(Malformed("a time is none"));
    }
    Ok(time)
}

fn write_next(writer: &mut Writer, next: Option<u64>) {
    writer.u8(next.is_some().into());
    next.into_iter().for_each(|next| writer.u64(next));
}

fn read_next(reader: &mut Reader<'_>) -> Result<Option<u64>, Malformed> {
    if reader.u8()? == 0 { Ok(None) } else { reader.u64().map(Some) }
}

fn read_ranges(reader: &mut Reader<'_>) -> Result<Answer, Malformed> {
    let ranges = reader.list(RANGES_MAX, |reader| Ok(reader.u64()?..reader.u64()?))?;
    let next = read_next(reader)?;
    let bounds = ranges.iter().flat_map(|range| [range.start, range.end]).chain(next);
    if !bounds.is_sorted() || ranges.iter().any(Range::is_empty) {
        return Err(Malformed("data ranges are out of order"));
    }
    Ok(Answer::Ranges { ranges, next })
}
