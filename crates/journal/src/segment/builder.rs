//! The segment that still grows.

use std::sync::Arc;

use model::Timestamp;

use crate::{
    DiskTable, Error, ErrorKind, Mark, MarkRecord, Result, SegmentNumber, Sequence,
    block::{BlockHead, Place},
    codec::Checksum,
    extents::{ExtentMap, Piece, Sectors, Source},
    folder::{self, Folder, FolderFile},
    index::page::PageWriter,
    mark::encode_marks,
    record::{Body, RawRecord, SECTOR_BYTES},
    segment::{
        OpenHeader, SealedSegment,
        blocks::{Blocks, OpenBlock},
        file_name,
        footer::Trailer,
    },
};

/// A segment is sealed when it takes this many bytes.
pub(crate) const SEGMENT_BYTES: u64 = 64 << 20;

/// A segment is sealed when it has this many records: its index is held in memory until then.
pub(crate) const SEGMENT_RECORDS: u64 = 1 << 17;

/// What a tail that cannot be read means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// It was never acknowledged; where it was, the segment is damaged.
    Unacknowledged,
    /// It can be had again.
    HadAgain,
}

/// A segment that grows block by block.
///
/// After an error nothing is known of the file's end: drop it, and resume from the file.
pub(crate) struct SegmentBuilder {
    file: Arc<dyn FolderFile>,
    header: Arc<OpenHeader>,
    /// The disks after the last record.
    disks: DiskTable,
    end_bytes: u64,
    next: Sequence,
    times: Option<(Timestamp, Timestamp)>,
    extents: ExtentMap,
    marks: Vec<MarkRecord>,
    data_bytes: u64,
    blocks_digest: blake3::Hasher,
}

impl SegmentBuilder {
    /// Creates the segment with this header. When this returns, it is there, durable and empty.
    pub(crate) fn create(folder: &dyn Folder, header_bytes: &[u8]) -> Result<Self> {
        let header = OpenHeader::decode(header_bytes)?;
        let name = file_name(header.header.number);
        // Whole under its name or not there: a header that cannot be read is always damage.
        let file = folder::replace(folder, &name, header_bytes)
            .map_err(|error| Error::from_io(format!("creating {name}"), error))?;
        Ok(Self::empty(file, header))
    }

    fn empty(file: Arc<dyn FolderFile>, header: OpenHeader) -> Self {
        let mut blocks_digest = blake3::Hasher::new();
        blocks_digest.update(&header.checksum);
        Self {
            disks: header.header.disks.clone(),
            end_bytes: header.length_bytes,
            next: header.header.first,
            times: None,
            extents: ExtentMap::default(),
            marks: Vec::new(),
            data_bytes: 0,
            blocks_digest,
            file,
            header: Arc::new(header),
        }
    }

    /// Takes up a segment that a dead process left: reads what is whole, and cuts the rest. What is there when this returns
    /// is durable.
    pub(crate) fn resume(file: Arc<dyn FolderFile>, header: OpenHeader, tail: Tail) -> Result<Self> {
        let name = file_name(header.header.number);
        let failed = |error| Error::from_io(format!("{name}: taking it up"), error);
        let length_bytes = file.length_bytes().map_err(failed)?;
        let mut builder = Self::empty(Arc::clone(&file), header);
        let mut blocks = Blocks::of_open(&*file, &builder.header, length_bytes);
        loop {
            match blocks.next() {
                Ok(Some(block)) => {
                    let records = block.records().map_err(|error| error.of_file(&name))?;
                    builder.absorb(&block, &records)?;
                }
                Ok(None) => break,
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    if tail == Tail::Unacknowledged && blocks.lacks_what_was_durable()? {
                        return Err(error);
                    }
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if length_bytes > builder.end_bytes {
            file.set_length(builder.end_bytes).map_err(failed)?;
        }
        // A tail that is cut must not be there again after a crash.
        crate::segment::write_again(&*file, builder.end_bytes).map_err(|error| error.of_file(&name))?;
        Ok(builder)
    }

    pub(crate) fn header(&self) -> &Arc<OpenHeader> {
        &self.header
    }

    pub(crate) fn number(&self) -> SegmentNumber {
        self.header.header.number
    }

    /// The disks after the last record.
    pub(crate) fn disks(&self) -> &DiskTable {
        &self.disks
    }

    /// The number of the next record.
    pub(crate) fn next(&self) -> Sequence {
        self.next
    }

    /// Where the next block goes.
    pub(crate) fn end_bytes(&self) -> u64 {
        self.end_bytes
    }

    /// When the first and the last record were taken in.
    pub(crate) fn times(&self) -> Option<(Timestamp, Timestamp)> {
        self.times
    }

    pub(crate) fn marks(&self) -> &[MarkRecord] {
        &self.marks
    }

    /// Whether there is no room for more.
    pub(crate) fn is_full(&self) -> bool {
        self.end_bytes >= SEGMENT_BYTES || self.next.0 - self.header.header.first.0 >= SEGMENT_RECORDS
    }

    pub(crate) fn place(&self) -> Place<'_> {
        Place { header: &self.header.checksum, offset_bytes: self.end_bytes }
    }

    /// Adds a block, which is checked as if it came from a stranger. It is not durable before [`SegmentBuilder::sync`].
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for a block that is none; nothing was changed then.
    pub(crate) fn append(&mut self, block: &[u8]) -> Result<()> {
        let name = file_name(self.number());
        let head = BlockHead::decode(block.get(..crate::block::HEAD_BYTES).unwrap_or(block))
            .map_err(|error| error.of_file(&name))?;
        let raw = head.open(block, self.place()).map_err(|error| error.of_file(&name))?;
        if head.first != self.next {
            return Err(Error::corrupt(format!("{name}: a block does not follow the one before it")));
        }
        let block_at = OpenBlock { head, offset_bytes: self.end_bytes, raw };
        let records = block_at.records().map_err(|error| error.of_file(&name))?;
        self.check(&records).map_err(|error| error.of_file(&name))?;
        let written = self.file.write_at(self.end_bytes, block);
        written.map_err(|error| Error::from_io(format!("{name}: writing a block"), error))?;
        self.absorb(&block_at, &records)
    }

    /// Checks that records make sense after those that are there.
    fn check(&self, records: &[RawRecord]) -> Result<()> {
        let mut disks = self.disks.clone();
        let checked = records.iter().try_for_each(|record| match &record.body {
            Body::Write { disk, sector, sectors, .. } => disks.check(*disk, *sector, u64::from(*sectors)),
            Body::Zero { disk, sector, sectors } => disks.check(*disk, *sector, *sectors),
            Body::Mark(mark) => disks.apply(mark),
        });
        checked.map_err(|error| Error::corrupt("a record makes no sense").with_source(error))
    }

    /// Adds a block that this process has just made of these records.
    pub(crate) fn append_own(&mut self, head: &BlockHead, block: &[u8], records: &[RawRecord]) -> Result<()> {
        let name = file_name(self.number());
        let written = self.file.write_at(self.end_bytes, block);
        written.map_err(|error| Error::from_io(format!("{name}: writing a block"), error))?;
        let at = OpenBlock { head: *head, offset_bytes: self.end_bytes, raw: bytes::Bytes::new() };
        self.absorb(&at, records)
    }

    /// Makes everything that was added durable.
    pub(crate) fn sync(&self) -> Result<()> {
        let synced = self.file.sync();
        synced.map_err(|error| {
            Error::from_io(format!("{}: making it durable", file_name(self.number())), error)
        })
    }

    fn absorb(&mut self, block: &OpenBlock, records: &[RawRecord]) -> Result<()> {
        let (name, offset_bytes) = (file_name(self.number()), block.offset_bytes as u32);
        let foreign =
            |error: Error| Error::corrupt(format!("{name}: a record makes no sense")).with_source(error);
        for record in records {
            match &record.body {
                Body::Write { disk, sector, sectors, position } => {
                    self.disks.check(*disk, *sector, u64::from(*sectors)).map_err(foreign)?;
                    self.data_bytes += u64::from(*sectors) * SECTOR_BYTES;
                    let sectors = Sectors::new(*disk, *sector, u64::from(*sectors));
                    let source = Source::Block { offset_bytes, position: *position };
                    self.extents.put(Piece { sectors, sequence: record.sequence, source });
                }
                Body::Zero { disk, sector, sectors } => {
                    self.disks.check(*disk, *sector, *sectors).map_err(foreign)?;
                    let sectors = Sectors::new(*disk, *sector, *sectors);
                    self.extents.put(Piece { sectors, sequence: record.sequence, source: Source::Zero });
                }
                Body::Mark(mark) => {
                    if let Some(cut) = self.disks.cut_off(mark) {
                        self.extents.put(Piece {
                            sectors: cut,
                            sequence: record.sequence,
                            source: Source::Zero,
                        });
                    }
                    self.disks.apply(mark).map_err(foreign)?;
                    self.marks.extend(record.as_mark());
                }
            }
            let first_time = self.times.map_or(record.time, |(first, _)| first);
            self.times = Some((first_time, record.time));
        }
        self.blocks_digest.update(&block.head.checksum);
        self.next = block.head.last().next();
        self.end_bytes = block.offset_bytes + block.head.whole_bytes();
        Ok(())
    }

    /// The footer that the blocks so far have: it follows from them alone. None where there is no record.
    pub(crate) fn footer(&self) -> Option<Vec<u8>> {
        let (first_time, last_time) = self.times?;
        let mut footer = encode_marks(&self.marks);
        crate::codec::seal(&mut footer);
        let marks_bytes = footer.len() as u32;
        let mut pages = PageWriter::new(self.header.checksum);
        for piece in self.extents.iter() {
            footer.extend(pages.push(piece));
        }
        footer.extend(pages.finish());
        let trailer = Trailer {
            blocks_end_bytes: self.end_bytes,
            marks_bytes,
            page_count: pages.count(),
            last: self.next.previous(),
            first_time,
            last_time,
            data_bytes: self.data_bytes,
            changes_disks: self.marks.iter().any(|record| !matches!(record.mark, Mark::Checkpoint(_))),
            blocks_digest: *self.blocks_digest.finalize().as_bytes(),
            index_digest: *blake3::hash(&footer).as_bytes(),
        };
        footer.extend(trailer.encode());
        Some(footer)
    }

    /// Writes the footer. When this returns, all of the segment is durable and sealed.
    pub(crate) fn seal(&mut self, footer: &[u8]) -> Result<SealedSegment> {
        let name = file_name(self.number());
        // Else a crash could leave a footer without its blocks.
        self.sync()?;
        let written = self.file.write_at(self.end_bytes, footer);
        written.map_err(|error| Error::from_io(format!("sealing {name}"), error))?;
        self.sync()?;
        let (_, sealed) = crate::segment::open(&*self.file, self.number())?;
        sealed.ok_or_else(|| Error::corrupt(format!("{name}: is not what was written to it")))
    }
}

/// The checksum at the end of a footer, which names the whole segment.
pub(crate) fn digest_of_footer(footer: &[u8]) -> Checksum {
    footer.last_chunk().copied().unwrap_or_default()
}
