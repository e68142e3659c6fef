//! Tables in files: pages of sorted records, each with a checksum. In memory is one number for each page.

use std::{fs::File, io, ops::ControlFlow, os::unix::fs::FileExt};

use super::{
    filter::Filter,
    record::{self, RECORD_BYTES, Record},
    scratch::Scratch,
};
use crate::ChunkId;
use crate::Result;

/// Bytes that one lookup reads.
const PAGE_BYTES: usize = 4096;

/// Records of a page; after them come zeros, the page's number and the checksum.
const PAGE_RECORDS: usize = (PAGE_BYTES - 16) / RECORD_BYTES;

const NUMBER_AT: usize = PAGE_BYTES - 16;
const CHECKSUM_AT: usize = PAGE_BYTES - 8;

/// Pages that are read or written together where a table is read or written from one end to the other.
const PAGES_TOGETHER: usize = 16;

type Page = [u8; PAGE_BYTES];

/// The page of one file that was read last, for whoever asks in the order of ids.
#[derive(Debug, Default)]
pub(super) struct LastPage {
    number: Option<usize>,
    bytes: Vec<u8>,
}

/// A table in a file. Immutable.
#[derive(Debug)]
pub(super) struct FileTable {
    file: File,
    scratch: Scratch,
    /// The first eight bytes of each page's first id.
    fences: Vec<u64>,
    record_count: usize,
}

impl FileTable {
    pub(super) fn len(&self) -> usize {
        self.record_count
    }

    /// Shows the records of a chunk and their positions, in order, until told to stop. Reads one page, more only where the
    /// chunk's records fill it, and none where the page is the last that was read.
    pub(super) fn search(
        &self,
        id: &ChunkId,
        last: &mut LastPage,
        mut visit: impl FnMut(usize, &Record) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let prefix = record::prefix_of(&id.0);
        let first = self.fences.partition_point(|&fence| fence < prefix).saturating_sub(1);
        let end = self.fences.partition_point(|&fence| fence <= prefix);
        for number in first..end {
            let records = self.records_of_page(number, last)?;
            for position in record::positions(records, id) {
                if visit(number * PAGE_RECORDS + position, &records[position]).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The records of a page, which is read and checked unless it is the last that was.
    fn records_of_page<'a>(&self, number: usize, last: &'a mut LastPage) -> Result<&'a [Record]> {
        if last.number != Some(number) {
            last.number = None;
            last.bytes.resize(PAGE_BYTES, 0);
            self.read_at(number, &mut last.bytes)?;
            let (pages, _) = last.bytes.as_chunks();
            self.check(number, pages.first().unwrap_or(&[0; PAGE_BYTES]))?;
            last.number = Some(number);
        }
        let (pages, _) = last.bytes.as_chunks::<PAGE_BYTES>();
        Ok(pages.first().map_or(&[], |page| self.records_in(number, page)))
    }

    /// Appends some of the records from `position` on, which is where an earlier call left off; none at the end.
    pub(super) fn read(&self, position: usize, records: &mut Vec<Record>) -> Result<()> {
        let first = position.div_ceil(PAGE_RECORDS);
        let count = self.fences.len().saturating_sub(first).min(PAGES_TOGETHER);
        let mut bytes = vec![0; count * PAGE_BYTES];
        self.read_at(first, &mut bytes)?;
        let (pages, _) = bytes.as_chunks();
        for (number, page) in (first..).zip(pages) {
            records.extend(self.records(number, page)?);
        }
        Ok(())
    }

    fn read_at(&self, first_page: usize, bytes: &mut [u8]) -> Result<()> {
        let read = self.file.read_exact_at(bytes, (first_page * PAGE_BYTES) as u64);
        read.map_err(|error| self.scratch.error("a file cannot be read in", error))
    }

    /// The records in a page that was read, after its check.
    fn records<'a>(&self, number: usize, page: &'a Page) -> Result<&'a [Record]> {
        self.check(number, page)?;
        Ok(self.records_in(number, page))
    }

    fn check(&self, number: usize, page: &Page) -> Result<()> {
        if page[NUMBER_AT..CHECKSUM_AT] != (number as u64).to_le_bytes()
            || page[CHECKSUM_AT..] != checksum(page)
        {
            let rotten = io::Error::new(io::ErrorKind::InvalidData, "it is not what was written");
            return Err(self.scratch.error("a file has changed in", rotten));
        }
        Ok(())
    }

    fn records_in<'a>(&self, number: usize, page: &'a Page) -> &'a [Record] {
        let (records, _) = page.as_chunks();
        let count = self.record_count.saturating_sub(number * PAGE_RECORDS).min(PAGE_RECORDS);
        records.get(..count).unwrap_or_default()
    }
}

fn checksum(page: &Page) -> [u8; 8] {
    let mut checksum = [0; 8];
    checksum.copy_from_slice(&blake3::hash(&page[..CHECKSUM_AT]).as_bytes()[..8]);
    checksum
}

/// Writes a table from its first record to its last.
#[derive(Debug)]
pub(super) struct FileTableWriter {
    table: FileTable,
    filter: Filter,
    /// Pages to be written; the last may not be full.
    pages: Vec<u8>,
}

impl FileTableWriter {
    /// Starts a table of at most so many records.
    pub(super) fn new(scratch: &Scratch, record_count_max: usize) -> Result<Self> {
        let fences = Vec::with_capacity(record_count_max.div_ceil(PAGE_RECORDS));
        let table = FileTable { file: scratch.file()?, scratch: scratch.clone(), fences, record_count: 0 };
        let pages = Vec::with_capacity(PAGES_TOGETHER * PAGE_BYTES);
        Ok(Self { table, filter: Filter::for_chunks(record_count_max), pages })
    }

    /// Appends a record, which comes after all others.
    pub(super) fn push(&mut self, record: &Record) -> Result<()> {
        if self.table.record_count.is_multiple_of(PAGE_RECORDS) {
            self.close_page();
            if self.pages.len() == PAGES_TOGETHER * PAGE_BYTES {
                self.write()?;
            }
            self.table.fences.push(record::prefix_of(record));
        }
        self.pages.extend(record);
        self.filter.insert(&record::id_of(record));
        self.table.record_count += 1;
        Ok(())
    }

    /// The table and its filter.
    pub(super) fn finish(mut self) -> Result<(FileTable, Filter)> {
        self.close_page();
        self.write()?;
        self.table.fences.shrink_to_fit();
        Ok((self.table, self.filter))
    }

    fn close_page(&mut self) {
        let start = self.pages.len() / PAGE_BYTES * PAGE_BYTES;
        if start == self.pages.len() {
            return;
        }
        self.pages.resize(start + PAGE_BYTES, 0);
        let number = self.table.fences.len() as u64 - 1;
        if let Some(page) = self.pages[start..].first_chunk_mut::<PAGE_BYTES>() {
            page[NUMBER_AT..CHECKSUM_AT].copy_from_slice(&number.to_le_bytes());
            let checksum = checksum(page);
            page[CHECKSUM_AT..].copy_from_slice(&checksum);
        }
    }

    fn write(&mut self) -> Result<()> {
        let first_page = self.table.fences.len() - self.pages.len() / PAGE_BYTES;
        let written = self.table.file.write_all_at(&self.pages, (first_page * PAGE_BYTES) as u64);
        self.pages.clear();
        written.map_err(|error| self.table.scratch.error("a file cannot be written in", error))
    }
}

#[cfg(test)]
impl FileTable {
    /// Flips a bit of the file.
    pub(super) fn rot(&self, offset_bytes: u64) {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, offset_bytes).unwrap();
        self.file.write_all_at(&[byte[0] ^ 4], offset_bytes).unwrap();
    }

    /// Takes the file's bytes away.
    pub(super) fn truncate(&self) {
        self.file.set_len(0).unwrap();
    }
}
