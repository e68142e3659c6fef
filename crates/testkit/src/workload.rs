//! What the guest's workload says about itself.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// What the workload left on its disks.
///
/// Record N is durable on the root disk before it is written to the data disk, and every tenth record is then a row of the
/// database, before record N+1 exists: only a single moment over both disks has no problems.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WorkloadState {
    /// The last sound record on the root disk; records count from 1.
    pub root_last: u64,
    /// The last sound record on the data disk.
    pub data_last: u64,
    /// Rows in the database.
    pub database_rows: u64,
    /// The record of the newest row.
    pub database_last: u64,
    /// Whether the disks carry the freeze hook's mark: the application was quiesced at this moment.
    pub quiesced: bool,
    /// Everything that is wrong, a sentence each.
    pub problems: Vec<String>,
}

impl WorkloadState {
    /// Reads the JSON of the guest's `verify`.
    ///
    /// # Errors
    /// When it is not that.
    pub fn parse(json: &str) -> Result<Self> {
        serde_json::from_str(json).with_context(|| format!("reading {json:?}"))
    }

    /// Passes the state on if nothing is wrong.
    ///
    /// # Errors
    /// With every problem.
    pub fn sound(self) -> Result<Self> {
        ensure!(self.problems.is_empty(), "the workload's data is damaged: {}", self.problems.join("; "));
        Ok(self)
    }
}

/// What durable appends have cost the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Latency {
    /// Appends measured, over both disks.
    pub writes: u64,
    /// Median.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// The longest time between the starts of two records, frozen time included.
    pub longest_gap_us: u64,
}

impl Latency {
    pub(crate) fn parse(json: &str) -> Result<Self> {
        serde_json::from_str(json).with_context(|| format!("reading {json:?}"))
    }
}
