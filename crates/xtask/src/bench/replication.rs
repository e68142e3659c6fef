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
use model::ByteCount;

use super::{progress, report::Report};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

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
    window: Duration::from_secs(5),
    rpo_window: Duration::from_secs(15),
    outage: ByteCount(128 * MIB),
    drills: 2,
};
const THOROUGH: Scale = Scale {
    window: Duration::from_secs(60),
    rpo_window: Duration::from_secs(600),
    outage: ByteCount(GIB),
    drills: 5,
};

/// Measures everything of this binary, with all files in a directory of its own below this one.
pub async fn measure(binary: &Path, quick: bool, directory: &Path) -> Result<Report> {
    let scale = if quick { QUICK } else { THOROUGH };
    let directory = tempfile::Builder::new().prefix("replication-").tempdir_in(directory)?;
    let mut report = Report::default();
    report.extend(cost::measure_disk(binary, &scale).await?);
    report.extend(cost::measure_guest(binary, &scale, directory.path()).await?);
    report.extend(rpo::measure(binary, &scale).await?);
    report.extend(outage::measure(binary, &scale).await?);
    report.extend(drills::measure(binary, &scale, directory.path()).await?);
    Ok(report)
}
