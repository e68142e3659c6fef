//! Tables: sorted, immutable records, in memory while they are few and in a file from there on.

use std::{ops::ControlFlow, sync::Arc};

use super::{
    file_table::{FileTable, FileTableWriter, LastPage},
    filter::Filter,
    record::{self, Record},
    scratch::Scratch,
};
use crate::{ChunkId, Result};

/// Records of a table in memory that are looked at together.
const RECORDS_TOGETHER: usize = 1024;

/// A table.
#[derive(Debug)]
pub(super) enum Table {
    Memory(Vec<Record>),
    File(FileTable),
}

impl Table {
    /// How many records it has.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Memory(records) => records.len(),
            Self::File(table) => table.len(),
        }
    }

    /// Shows the records of a chunk and their positions, newest first, until told to stop.
    pub(super) fn search(
        &self,
        id: &ChunkId,
        last: &mut LastPage,
        mut visit: impl FnMut(usize, &Record) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        match self {
            Self::Memory(records) => {
                let mut positions = record::positions(records, id);
                Ok(positions.try_for_each(|position| visit(position, &records[position])))
            }
            Self::File(table) => table.search(id, last, visit),
        }
    }

    fn read(&self, position: usize, records: &mut Vec<Record>) -> Result<()> {
        match self {
            Self::Memory(all) => {
                let rest = all.get(position..).unwrap_or_default();
                records.extend(rest.iter().take(RECORDS_TOGETHER));
                Ok(())
            }
            Self::File(table) => table.read(position, records),
        }
    }
}

/// Goes through a table from its first record to its last, with few of them in memory.
#[derive(Debug)]
pub(super) struct Cursor {
    table: Arc<Table>,
    /// The records that were read last, and the position of the first of them.
    records: Vec<Record>,
    first: usize,
    at: usize,
}

impl Cursor {
    pub(super) fn new(table: Arc<Table>) -> Result<Self> {
        let mut cursor = Self { table, records: Vec::new(), first: 0, at: 0 };
        cursor.table.read(0, &mut cursor.records)?;
        Ok(cursor)
    }

    /// The record that it has come to; none after the last.
    pub(super) fn record(&self) -> Option<&Record> {
        self.records.get(self.at)
    }

    /// The position of that record in the table.
    pub(super) fn position(&self) -> usize {
        self.first + self.at
    }

    /// Goes to the next record.
    pub(super) fn advance(&mut self) -> Result<()> {
        self.at += 1;
        if self.at >= self.records.len() {
            self.first += self.records.len();
            self.at = 0;
            self.records.clear();
            self.table.read(self.first, &mut self.records)?;
        }
        Ok(())
    }
}

/// Makes a table, record by record.
#[derive(Debug)]
pub(super) enum TableBuilder {
    Memory(Vec<Record>),
    File(FileTableWriter),
}

impl TableBuilder {
    /// A table of at most so many records: in a file where there is a directory for it.
    pub(super) fn new(scratch: Option<&Scratch>, record_count_max: usize) -> Result<Self> {
        Ok(match scratch {
            Some(scratch) => Self::File(FileTableWriter::new(scratch, record_count_max)?),
            None => Self::Memory(Vec::with_capacity(record_count_max)),
        })
    }

    /// Appends a record, which comes after all others.
    pub(super) fn push(&mut self, record: &Record) -> Result<()> {
        match self {
            Self::Memory(records) => {
                records.push(*record);
                Ok(())
            }
            Self::File(writer) => writer.push(record),
        }
    }

    /// The table, and a filter where looking into it costs a read.
    pub(super) fn finish(self) -> Result<(Table, Option<Filter>)> {
        Ok(match self {
            Self::Memory(mut records) => {
                records.shrink_to_fit();
                (Table::Memory(records), None)
            }
            Self::File(writer) => {
                let (table, filter) = writer.finish()?;
                (Table::File(table), Some(filter))
            }
        })
    }
}
