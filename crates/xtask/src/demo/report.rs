//! What happened, as a short table.

use std::{fmt, time::Duration};

use api::{ChangeSourceView, PointView};
use comfy_table::{Table, presets::NOTHING};
use model::ByteCount;

/// The rows of the table, in the order of events.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    what: String,
    took: Duration,
    bytes: Option<Bytes>,
    outcome: String,
}

#[derive(Debug)]
struct Bytes {
    size: ByteCount,
    read: ByteCount,
    stored: ByteCount,
}

impl Report {
    /// Adds an event.
    pub fn event(&mut self, what: &str, took: Duration, outcome: impl Into<String>) {
        self.rows.push(Row { what: what.to_owned(), took, bytes: None, outcome: outcome.into() });
    }

    /// Adds a backup: what was read, what was stored, and the consistency reached.
    pub fn backup(&mut self, what: &str, took: Duration, point: &PointView) {
        let milliseconds =
            |us: Option<u64>| us.map_or("unknown".to_owned(), |us| format!("{} ms", us.div_ceil(1000)));
        let outcome = format!(
            "{} consistency, {}; frozen {}, paused {}",
            point.consistency_reached,
            how_found(point),
            milliseconds(point.cost.freeze_us),
            milliseconds(point.cost.pause_us),
        );
        let bytes = Bytes { size: point.size_bytes, read: point.read_bytes, stored: point.stored_bytes };
        self.rows.push(Row { what: what.to_owned(), took, bytes: Some(bytes), outcome });
    }
}

fn how_found(point: &PointView) -> &'static str {
    let all = |wanted: fn(&ChangeSourceView) -> bool| point.disks.iter().all(|disk| wanted(&disk.source));
    if all(|source| matches!(source, ChangeSourceView::Full)) {
        "everything read"
    } else if all(|source| matches!(source, ChangeSourceView::Bitmap)) {
        "only changes read"
    } else {
        "everything compared"
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(["WHAT", "TIME", "DISKS", "READ", "STORED", "OUTCOME"]);
        for row in &self.rows {
            let bytes =
                |which: fn(&Bytes) -> ByteCount| row.bytes.as_ref().map(|bytes| which(bytes).to_string());
            table.add_row([
                row.what.clone(),
                format!("{:.1} s", row.took.as_secs_f64()),
                bytes(|bytes| bytes.size).unwrap_or_default(),
                bytes(|bytes| bytes.read).unwrap_or_default(),
                bytes(|bytes| bytes.stored).unwrap_or_default(),
                row.outcome.clone(),
            ]);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        write!(formatter, "{}", table.trim_fmt())
    }
}
