//! Reads archives as [`crate::archive::tar`] writes them.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    os::unix::fs::FileExt as _,
};

use crate::{
    Attribute, Error, ErrorKind, Result, Time,
    archive::{BLOCK_BYTES, EntryType, Header, records},
    limits::MESSAGE_MAX_BYTES,
};

/// Bytes that are copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Ranges of one sparse file.
const RANGES_MAX: usize = 1 << 20;

/// One member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: Vec<u8>,
    pub(super) kind: EntryType,
    pub(super) mode: u32,
    pub(super) user: u32,
    pub(super) group: u32,
    /// The length of the file, with its holes.
    pub(super) size_bytes: u64,
    pub(super) modified: Time,
    pub(super) accessed: Option<Time>,
    pub(super) link: Vec<u8>,
    pub(super) device: (u32, u32),
    pub(super) attributes: Vec<Attribute>,
    /// Where the file has data.
    ranges: Vec<Range<u64>>,
}

/// An archive being read.
pub(super) struct Reader<R> {
    stream: R,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream }
    }

    /// The next member; none behind the last. The content of the one before has been copied, where it had any.
    pub(super) fn next(&mut self) -> Result<Option<Member>> {
        let Some(mut header) = self.header()? else { return Ok(None) };
        let mut records = Vec::new();
        if header.kind == EntryType::Records {
            records = self.content(header.size_bytes)?;
            header = self.header()?.ok_or_else(|| damaged("it breaks off behind records"))?;
        }
        let mut member = Member {
            name: header.name,
            kind: header.kind,
            mode: header.mode & 0o7777,
            user: header.user,
            group: header.group,
            size_bytes: header.size_bytes,
            modified: Time { seconds: header.modified_seconds, nanoseconds: 0 },
            accessed: None,
            link: header.link,
            device: header.device,
            attributes: Vec::new(),
            ranges: Vec::new(),
        };
        let sparse_size = member.apply(&records)?;
        if member.kind == EntryType::File {
            self.find_ranges(&mut member, sparse_size)?;
        }
        while member.name.last() == Some(&b'/') {
            member.name.pop();
        }
        Ok(Some(member))
    }

    /// Copies the content of the member that was read last; returns its bytes without holes.
    pub(super) fn copy_content(&mut self, member: &Member, file: &File) -> Result<u64> {
        let writing = |error| Error::from_io("writing a file", error);
        file.set_len(member.size_bytes).map_err(writing)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut copied = 0;
        for range in &member.ranges {
            let mut at = range.start;
            while at < range.end {
                let length = (range.end - at).min(COPY_BYTES as u64) as usize;
                let part = buffer.get_mut(..length).unwrap_or_default();
                self.stream.read_exact(part).map_err(broken_off)?;
                file.write_all_at(part, at).map_err(writing)?;
                at += length as u64;
                copied += length as u64;
            }
        }
        self.skip_padding(copied)?;
        Ok(copied)
    }

    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK_BYTES];
        self.stream.read_exact(&mut block).map_err(broken_off)?;
        Header::decode(&block).map_err(damaged)
    }

    /// Content that is short.
    fn content(&mut self, size_bytes: u64) -> Result<Vec<u8>> {
        if size_bytes > MESSAGE_MAX_BYTES as u64 {
            return Err(damaged("records are too long"));
        }
        let mut content = vec![0; size_bytes as usize];
        self.stream.read_exact(&mut content).map_err(broken_off)?;
        self.skip_padding(size_bytes)?;
        Ok(content)
    }

    fn skip_padding(&mut self, length_bytes: u64) -> Result<()> {
        let rest = (length_bytes % BLOCK_BYTES as u64) as usize;
        if rest > 0 {
            let mut block = [0; BLOCK_BYTES];
            self.stream.read_exact(block.get_mut(rest..).unwrap_or_default()).map_err(broken_off)?;
        }
        Ok(())
    }

    /// Where the data goes. A sparse file's content starts with that.
    fn find_ranges(&mut self, member: &mut Member, sparse_size: Option<u64>) -> Result<()> {
        let Some(size_bytes) = sparse_size else {
            let data = 0..member.size_bytes;
            member.ranges = if data.is_empty() { Vec::new() } else { vec![data] };
            return Ok(());
        };
        member.size_bytes = size_bytes;
        let mut lines = MapLines { stream: &mut self.stream, block: [0; BLOCK_BYTES], next: BLOCK_BYTES };
        let count = lines.number()?;
        if count > RANGES_MAX as u64 {
            return Err(damaged("a file has too many holes"));
        }
        let mut end = 0;
        for _ in 0..count {
            let (start, length) = (lines.number()?, lines.number()?);
            let range = start..start.saturating_add(length);
            if range.start < end || range.end > size_bytes {
                return Err(damaged("the map of a sparse file is out of order"));
            }
            end = range.end;
            if !range.is_empty() {
                member.ranges.push(range);
            }
        }
        Ok(())
    }
}

impl Member {
    /// What records say. Returns the size of a sparse file.
    fn apply(&mut self, block: &[u8]) -> Result<Option<u64>> {
        let none = || damaged("the value of a record is none");
        let (mut sparse_size, mut sparse_name) = (None, None);
        for (key, value) in records::parse(block).map_err(damaged)? {
            match key {
                records::PATH => self.name = value.to_vec(),
                records::LINK_PATH => self.link = value.to_vec(),
                records::SIZE => self.size_bytes = records::number(value).ok_or_else(none)?,
                records::USER => self.user = records::number(value).ok_or_else(none)?,
                records::GROUP => self.group = records::number(value).ok_or_else(none)?,
                records::MODIFIED => self.modified = records::parse_time(value).ok_or_else(none)?,
                records::ACCESSED => self.accessed = Some(records::parse_time(value).ok_or_else(none)?),
                records::SPARSE_SIZE => sparse_size = Some(records::number(value).ok_or_else(none)?),
                records::SPARSE_NAME => sparse_name = Some(value.to_vec()),
                key => {
                    if let Some(name) = key.strip_prefix(records::ATTRIBUTE_PREFIX) {
                        self.attributes.push(Attribute { name: name.to_vec(), value: value.to_vec() });
                    }
                }
            }
        }
        self.name = sparse_name.unwrap_or_else(|| std::mem::take(&mut self.name));
        Ok(sparse_size)
    }
}

/// The lines of a sparse map, block by block.
struct MapLines<'a, R> {
    stream: &'a mut R,
    block: [u8; BLOCK_BYTES],
    next: usize,
}

impl<R: Read> MapLines<'_, R> {
    fn number(&mut self) -> Result<u64> {
        let mut value: u64 = 0;
        loop {
            if self.next == BLOCK_BYTES {
                self.stream.read_exact(&mut self.block).map_err(broken_off)?;
                self.next = 0;
            }
            let byte = self.block[self.next];
            self.next += 1;
            let next = match byte {
                b'\n' => return Ok(value),
                b'0'..=b'9' => {
                    value.checked_mul(10).and_then(|value| value.checked_add(u64::from(byte - b'0')))
                }
                _ => None,
            };
            value = next.ok_or_else(|| damaged("the map of a sparse file is none"))?;
        }
    }
}

fn damaged(why: &'static str) -> Error {
    Error::new(ErrorKind::Damaged, format!("the archive is damaged: {why}"))
}

fn broken_off(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it breaks off"),
        _ => Error::new(ErrorKind::Gone, "reading the archive").with_source(error),
    }
}
