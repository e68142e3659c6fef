//! `cargo xtask bench replication`: what replication costs a guest, how little would be lost, and how fast a replica is used.

mod cost;
mod drills;
mod link;
mod load;
mod outage;
mod pair;
mod rpo;

use std::{path::Path, time::Duration};

use anyhow::Result;
use clap::ValueEnum;
use model::ByteCount;

use super::{progress, report::Report};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// What it costs a disk that is written to as fast as the host can.
    Disk,
    /// What it costs a guest.
    Guest,
    /// How little would be lost, over links of several kinds.
    Rpo,
    /// How long it takes after an outage.
    Outage,
    /// How fast a replica is used.
    Drills,
}

/// How much is measured.
struct Scale {
    /// How long a load runs in each situation.
    window: Duration,
    /// How long the RPO is watched over each link.
    rpo_window: Duration,
    /// What is written while the link is down.
    outage: ByteCount,
    /// How often a replica of each size is tested.
    drills: usize,
}

const QUICK: Scale = Scale {
    window: Duration::from_secs(3),
    rpo_window: Duration::from_secs(12),
    outage: ByteCount(128 * MIB),
    drills: 2,
};
const THOROUGH: Scale = Scale {
    window: Duration::from_secs(60),
    rpo_window: Duration::from_secs(600),
    outage: ByteCount(GIB),
    drills: 5,
};

/// Measures these parts of this binary, or all when none is named, with all files in a directory of its own below this one.
pub async fn measure(binary: &Path, quick: bool, parts: &[Part], directory: &Path) -> Result<Report> {
    let scale = if quick { QUICK } else { THOROUGH };
    let directory = tempfile::Builder::new().prefix("replication-").tempdir_in(directory)?;
    let mut report = Report::default();
    for part in Part::value_variants() {
        if !parts.is_empty() && !parts.contains(part) {
            continue;
        }
        report.extend(match part {
            Part::Disk => cost::measure_disk(binary, &scale).await?,
            Part::Guest => cost::measure_guest(binary, &scale, directory.path()).await?,
            Part::Rpo => rpo::measure(binary, &scale).await?,
            Part::Outage => outage::measure(binary, &scale).await?,
            Part::Drills => drills::measure(binary, &scale, directory.path()).await?,
        });
    }
    Ok(report)
}
