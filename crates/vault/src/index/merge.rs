//! Which tables become one, and how.

use std::{ops::Range, sync::Arc};

use super::{
    filter::Filter,
    record::Record,
    scratch::Scratch,
    table::{Cursor, Table, TableBuilder},
};
use crate::Result;

/// Neighbouring tables that are to become one: those at the end of which each is less than twice as long as all that
/// come after it together. Each record is so written about once for every doubling of the index.
pub(super) fn next(lengths: &[usize]) -> Option<Range<usize>> {
    let pair = lengths.windows(2).rposition(|pair| pair[0] < 2 * pair[1])?;
    let (mut start, mut length) = (pair + 1, lengths[pair + 1]);
    while let Some(before) = start.checked_sub(1)
        && lengths[before] < 2 * length
    {
        start = before;
        length += lengths[before];
    }
    Some(start..pair + 2)
}

/// One table of many, without the records that are not wanted.
pub(super) fn merge(
    tables: &[Arc<Table>],
    scratch: Option<&Scratch>,
    wanted: impl Fn(&Record) -> bool,
) -> Result<(Table, Option<Filter>)> {
    let mut builder = TableBuilder::new(scratch, tables.iter().map(|table| table.len()).sum())?;
    let mut cursors =
        tables.iter().map(|table| Cursor::new(Arc::clone(table))).collect::<Result<Vec<_>>>()?;
    let ahead = |cursor: &&mut Cursor| cursor.record().copied();
    loop {
        cursors.retain(|cursor| cursor.record().is_some());
        let Some(cursor) = cursors.iter_mut().min_by_key(ahead) else { return builder.finish() };
        if let Some(record) = cursor.record()
            && wanted(record)
        {
            builder.push(record)?;
        }
        cursor.advance()?;
    }
}
