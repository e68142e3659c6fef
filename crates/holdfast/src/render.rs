//! What people see of the API's answers. Programs get the answers themselves, as JSON.

mod copy;
mod disk;
mod drill;
mod file;
mod group;
mod image;
mod job;
mod key;
mod peer;
mod plan;
mod point;
mod policy;
mod replica;
mod replication;
mod restore;
mod runbook;
mod site;
mod snapshot;
pub mod table;
mod text;
mod times;
mod upkeep;
mod vault;
mod vm;

use serde::Serialize;

pub use self::{
    image::ExportPlan,
    job::progress,
    restore::{PlannedDisk, RestorePlan, disks_section},
    site::Status,
    snapshot::SnapshotSizes,
    text::{duration, percentage, printable},
    times::Times,
};

/// A thing with an id that other commands take.
pub trait Identified: Serialize {
    /// The id.
    fn id(&self) -> String;
}

/// A thing that is listed.
pub trait Row: Identified {
    /// The columns' titles.
    const COLUMNS: &'static [&'static str];

    /// The thing's cells, one a column.
    fn cells(&self, times: &Times) -> Vec<String>;
}

/// A thing that is shown on its own.
pub trait Page: Identified {
    /// The whole text, which ends with a line's end.
    fn page(&self, times: &Times) -> String;
}

/// Optional text; a dash where there is none.
fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests;
