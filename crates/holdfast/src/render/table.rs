//! Tables without lines, which copy and grep well.

use comfy_table::{Cell, Table, presets::NOTHING};

use super::printable;

/// A table with a line of titles.
pub fn with_header(columns: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = plain();
    table.set_header(columns.iter().map(|title| title.to_uppercase()));
    table.add_rows(rows.into_iter().map(|row| row.into_iter().map(cell)));
    finish(&mut table)
}

/// More rows of such a table.
pub fn rows(rows: Vec<Vec<String>>) -> String {
    let mut table = plain();
    table.add_rows(rows.into_iter().map(|row| row.into_iter().map(cell)));
    finish(&mut table)
}

/// Titles on the left, values on the right.
pub fn fields(fields: Vec<(&str, String)>) -> String {
    let mut table = plain();
    table.add_rows(fields.into_iter().map(|(title, value)| [Cell::new(format!("{title}:")), cell(value)]));
    finish(&mut table)
}

/// A title and a table under it; nothing where there are no rows.
pub fn section(title: &str, columns: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{title}\n{}", with_header(columns, rows))
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table
}

fn cell(text: String) -> Cell {
    Cell::new(printable(&text).replace('\n', " "))
}

fn finish(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
