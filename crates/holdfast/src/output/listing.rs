//! Lists that are printed while they come in, in memory that does not grow with them.

use super::{Format, Output, Tone, not_json, print_if_read, tell};
use crate::{
    failure::Failure,
    render::{Row, table},
};

/// Rows of a table that are lined up with one another.
const ROWS_TOGETHER: usize = 1000;

/// A list that is being printed.
pub struct Listing<'a, T> {
    output: &'a Output,
    rows: Vec<T>,
    printed: u64,
}

impl<'a, T: Row> Listing<'a, T> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self { output, rows: Vec::new(), printed: 0 }
    }

    /// Prints an item, now or soon; false when nobody reads any more.
    pub fn push(&mut self, item: T) -> Result<bool, Failure> {
        self.rows.push(item);
        let is_table = self.output.format == Format::Table && !self.output.quiet;
        if self.rows.len() >= if is_table { ROWS_TOGETHER } else { 1 } { self.print_rows() } else { Ok(true) }
    }

    /// Prints what is left. People get told when the list is empty.
    pub fn finish(mut self, when_empty: &str) -> Result<(), Failure> {
        self.print_rows()?;
        match (self.output.format, self.printed) {
            _ if self.output.quiet => {}
            (Format::Table, 0) => tell(Tone::Plain, when_empty),
            (Format::Json, 0) => drop(print_if_read("[]\n")?),
            (Format::Json, _) => drop(print_if_read("\n]\n")?),
            _ => {}
        }
        Ok(())
    }

    fn print_rows(&mut self) -> Result<bool, Failure> {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(true);
        }
        let text = match self.output.format {
            _ if self.output.quiet => rows.iter().map(|row| format!("{}\n", row.id())).collect(),
            Format::Table => {
                let cells = rows.iter().map(|row| row.cells(&self.output.times)).collect();
                if self.printed == 0 { table::with_header(T::COLUMNS, cells) } else { table::rows(cells) }
            }
            Format::Jsonl => {
                let lines: Result<Vec<_>, _> = rows.iter().map(serde_json::to_string).collect();
                lines.map_err(|error| not_json(&error))?.iter().map(|line| format!("{line}\n")).collect()
            }
            Format::Json => self.elements(&rows)?,
        };
        self.printed += rows.len() as u64;
        print_if_read(&text)
    }

    /// Elements of a JSON array, with what stands before each.
    fn elements(&self, rows: &[T]) -> Result<String, Failure> {
        let mut text = String::new();
        for (number, row) in (self.printed..).zip(rows) {
            let element = serde_json::to_string_pretty(row).map_err(|error| not_json(&error))?;
            text.push_str(if number == 0 { "[\n  " } else { ",\n  " });
            text.push_str(&element.replace('\n', "\n  "));
        }
        Ok(text)
    }
}
