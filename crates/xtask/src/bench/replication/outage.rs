//! How long it takes after an outage of the link until the other site has everything again.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use api::ReplicationState;
use tokio::time::Instant;

use super::{
    Scale,
    load::{VM, Writable},
    pair::Pair,
    progress,
};
use crate::bench::report::Measurement;

/// Once with a journal that holds the outage, and once with one that does not, so that what was missed is read again.
pub async fn measure(binary: &Path, scale: &Scale) -> Result<Vec<Measurement>> {
    let pair = Pair::start(binary).await?;
    let disk = Writable::start(&pair.west).await?;
    let mut measurements = Vec::new();
    let ways = [
        ("in the journal", "32GiB", ReplicationState::Protected),
        ("read again", "64MiB", ReplicationState::Degraded),
    ];
    for (name, journal_size, state) in ways {
        progress(&format!("an outage while {} are written, {name}", scale.outage));
        pair.replicate(VM, &["--journal-size", journal_size]).await?;
        pair.until_in_sync(VM).await?;
        pair.link.set_up(false);
        disk.write(scale.outage).await?;
        let during = pair.until(VM, "what an outage makes of it", |view| view.state == state).await?;
        let (before, breaks) = (during.newest_checkpoint_at, during.breaks);
        ensure!((breaks > 0) == (state == ReplicationState::Degraded), "the tap broke {breaks} times");
        pair.link.set_up(true);
        let begun = Instant::now();
        pair.until_in_sync(VM).await?;
        let took = begun.elapsed().as_secs_f64();
        let after = pair.status(VM).await?.newest_checkpoint_at.context("no checkpoint is known")?;
        ensure!(before.is_none_or(|before| before < after), "nothing came after the outage");
        let metric = format!("in sync after an outage with {} written, {name}", scale.outage);
        measurements.push(Measurement::new(metric, took, "s"));
        pair.stop(VM).await?;
    }
    disk.check().await?;
    Ok(measurements)
}
