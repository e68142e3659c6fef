//! Segments: files of a header, blocks one after another, and a footer once they are sealed. Nothing in them is ever
//! changed but that a torn tail is cut.

pub(crate) mod blocks;
pub(crate) mod builder;
pub(crate) mod footer;
pub(crate) mod header;

use std::sync::Arc;

use model::{JournalId, Timestamp};

use crate::{
    DiskTable, Error, MarkRecord, Result, SegmentNumber, Sequence,
    codec::Checksum,
    folder::{Folder, FolderFile},
    index::{Pages, page::PAGE_BYTES},
    mark::decode_marks,
};
use footer::{TRAILER_BYTES, Trailer};
use header::{Header, PREFIX_BYTES};

/// The name of a segment's file.
pub(crate) fn file_name(number: SegmentNumber) -> String {
    format!("segment-{number:016}", number = number.0)
}

/// The numbers of the segments in a folder, in order.
pub(crate) fn numbers(folder: &dyn Folder) -> Result<Vec<SegmentNumber>> {
    let names = folder.names().map_err(|error| Error::from_io("listing a journal's segments", error))?;
    let number = |name: &String| -> Option<SegmentNumber> {
        let digits = name.strip_prefix("segment-").filter(|digits| digits.len() == 16)?;
        digits.parse().ok().map(SegmentNumber)
    };
    let mut numbers: Vec<SegmentNumber> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// What is known of a sealed segment without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealedSegment {
    pub(crate) number: SegmentNumber,
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
    pub(crate) first_time: Timestamp,
    pub(crate) last_time: Timestamp,
    pub(crate) length_bytes: u64,
    pub(crate) header_bytes: u64,
    pub(crate) blocks_end_bytes: u64,
    pub(crate) marks_bytes: u32,
    pub(crate) page_count: u32,
    pub(crate) changes_disks: bool,
    /// The header's.
    pub(crate) checksum: Checksum,
    /// That of the trailer: names all bytes of the segment.
    pub(crate) digest: Checksum,
}

impl SealedSegment {
    fn of(header: &OpenHeader, trailer: &Trailer, digest: Checksum, length_bytes: u64) -> Self {
        Self {
            number: header.header.number,
            first: header.header.first,
            last: trailer.last,
            first_time: trailer.first_time,
            last_time: trailer.last_time,
            length_bytes,
            header_bytes: header.length_bytes,
            blocks_end_bytes: trailer.blocks_end_bytes,
            marks_bytes: trailer.marks_bytes,
            page_count: trailer.page_count,
            changes_disks: trailer.changes_disks,
            checksum: header.checksum,
            digest,
        }
    }

    pub(crate) fn name(&self) -> String {
        file_name(self.number)
    }

    /// The segment's index in its open file.
    pub(crate) fn pages(&self, file: Arc<dyn FolderFile>) -> Pages {
        Pages {
            file,
            name: Arc::from(self.name()),
            start_bytes: self.blocks_end_bytes + u64::from(self.marks_bytes),
            count: self.page_count,
            owner: self.checksum,
        }
    }

    /// The segment's marks.
    pub(crate) fn marks(&self, file: &dyn FolderFile) -> Result<Vec<MarkRecord>> {
        let mut bytes = vec![0; self.marks_bytes as usize];
        file.read_at(self.blocks_end_bytes, &mut bytes)
            .map_err(|error| Error::from_io(format!("{}: reading its marks", self.name()), error))?;
        let (content, checksum) = bytes
            .split_last_chunk::<32>()
            .ok_or_else(|| Error::corrupt(format!("{}: its marks end too early", self.name())))?;
        if blake3::hash(content).as_bytes() != checksum {
            return Err(Error::corrupt(format!("{}: its marks do not have their checksum", self.name())));
        }
        decode_marks(content).map_err(|error| error.of_file(&self.name()))
    }
}

/// A segment's header, read and checked.
#[derive(Debug, Clone)]
pub(crate) struct OpenHeader {
    pub(crate) header: Header,
    pub(crate) checksum: Checksum,
    pub(crate) length_bytes: u64,
}

impl OpenHeader {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let (header, checksum) = Header::decode(bytes)?;
        Ok(Self { header, checksum, length_bytes: bytes.len() as u64 })
    }

    /// Reads the header of a segment's file.
    pub(crate) fn read(file: &dyn FolderFile, number: SegmentNumber) -> Result<Self> {
        let bytes = read_header(file).map_err(|error| error.of_file(&file_name(number)))?;
        let opened = Self::decode(&bytes).map_err(|error| error.of_file(&file_name(number)))?;
        if opened.header.number != number {
            let context = format!("{}: holds segment {}", file_name(number), opened.header.number);
            return Err(Error::corrupt(context));
        }
        Ok(opened)
    }
}

/// The bytes of the header of a segment's file, not checked.
pub(crate) fn read_header(file: &dyn FolderFile) -> Result<Vec<u8>> {
    let failed = |error| Error::from_io("reading a segment's header", error);
    let mut prefix = [0; PREFIX_BYTES];
    file.read_at(0, &mut prefix).map_err(failed)?;
    let length = Header::length(&prefix)?;
    let mut bytes = vec![0; length];
    file.read_at(0, &mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Reads header and trailer of a segment. Of one that is not sealed there is no second.
pub(crate) fn open(
    file: &dyn FolderFile,
    number: SegmentNumber,
) -> Result<(OpenHeader, Option<SealedSegment>)> {
    let header = OpenHeader::read(file, number)?;
    let failed = |error| Error::from_io(format!("{}: reading its trailer", file_name(number)), error);
    let length_bytes = file.length_bytes().map_err(failed)?;
    let Some(trailer_start) = length_bytes.checked_sub(TRAILER_BYTES as u64) else {
        return Ok((header, None));
    };
    let mut bytes = [0; TRAILER_BYTES];
    file.read_at(trailer_start, &mut bytes).map_err(failed)?;
    let Ok(trailer) = Trailer::decode(&bytes) else { return Ok((header, None)) };
    let pages_bytes = u64::from(trailer.page_count) * PAGE_BYTES as u64;
    let end_bytes = trailer.blocks_end_bytes.checked_add(u64::from(trailer.marks_bytes) + pages_bytes);
    if end_bytes != Some(trailer_start) || trailer.last < header.header.first {
        return Err(Error::corrupt(format!("{}: its trailer does not fit it", file_name(number))));
    }
    let digest = bytes.last_chunk().copied().unwrap_or_default();
    let sealed = SealedSegment::of(&header, &trailer, digest, length_bytes);
    Ok((header, Some(sealed)))
}

/// Writes what a file holds once more, and makes it durable. Where making it durable failed before, it may be read although
/// it is not on the device, and never will be unless it is written again.
pub(crate) fn write_again(file: &dyn FolderFile, length_bytes: u64) -> Result<()> {
    let failed = |error| Error::from_io("making a segment durable", error);
    let mut window = vec![0; length_bytes.min(1 << 20) as usize];
    let mut start = 0;
    while start < length_bytes {
        let piece = window.len().min((length_bytes - start) as usize);
        file.read_at(start, &mut window[..piece]).map_err(failed)?;
        file.write_at(start, &window[..piece]).map_err(failed)?;
        start += piece as u64;
    }
    file.sync().map_err(failed)
}

/// The disks after the last record of a sealed segment.
pub(crate) fn disks_after(
    header: &OpenHeader,
    sealed: &SealedSegment,
    file: &dyn FolderFile,
) -> Result<DiskTable> {
    let mut disks = header.header.disks.clone();
    if sealed.changes_disks {
        for record in sealed.marks(file)? {
            let applied = disks.apply(&record.mark);
            applied.map_err(|error| {
                Error::corrupt(format!("{}: a mark makes no sense", sealed.name())).with_source(error)
            })?;
        }
    }
    Ok(disks)
}

/// As [`open`], of the last segment: a footer that is there in part is none, for its writer died over it.
pub(crate) fn open_last(
    file: &dyn FolderFile,
    number: SegmentNumber,
) -> Result<(OpenHeader, Option<SealedSegment>)> {
    let (header, sealed) = open(file, number)?;
    let Some(sealed) = sealed else { return Ok((header, None)) };
    let name = sealed.name();
    let failed = |error| Error::from_io(format!("{name}: reading its footer"), error);
    let mut trailer = [0; TRAILER_BYTES];
    let trailer_start = sealed.length_bytes - TRAILER_BYTES as u64;
    file.read_at(trailer_start, &mut trailer).map_err(failed)?;
    let expected = Trailer::decode(&trailer)?.index_digest;
    let mut hasher = blake3::Hasher::new();
    let (mut start, mut page) = (sealed.blocks_end_bytes, [0; PAGE_BYTES]);
    while start < trailer_start {
        let length = (trailer_start - start).min(PAGE_BYTES as u64) as usize;
        file.read_at(start, &mut page[..length]).map_err(failed)?;
        hasher.update(&page[..length]);
        start += length as u64;
    }
    let is_whole = *hasher.finalize().as_bytes() == expected;
    Ok((header, is_whole.then_some(sealed)))
}

/// What a header must agree with: the segment before it.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) journal: JournalId,
    pub(crate) number: SegmentNumber,
    pub(crate) first: Sequence,
    pub(crate) disks: DiskTable,
}

impl Expected {
    pub(crate) fn check(&self, header: &Header) -> Result<()> {
        let why = if header.journal != self.journal {
            "belongs to another journal"
        } else if header.number != self.number || header.first != self.first {
            "does not follow the segment before it"
        } else if !header.disks.agrees_with(&self.disks) {
            "has other disks than the segment before it"
        } else {
            return Ok(());
        };
        Err(Error::corrupt(format!("{} {why}", file_name(header.number))))
    }
}
