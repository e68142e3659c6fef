//! What would be lost, looked at again and again under load, over links of several kinds; and what an idle guest costs.

use std::{path::Path, time::Duration};

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::{
    MIB, Scale,
    link::Quality,
    load::{VM, Writable},
    pair::Pair,
    progress,
};
use crate::bench::report::Measurement;

/// What the guest writes in a second: half of it goes over the slowest link, which carries six times as much.
const LOAD_BYTES_PER_SECOND: u64 = 4 * MIB;

/// How often is looked.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

pub async fn measure(binary: &Path, scale: &Scale) -> Result<Vec<Measurement>> {
    let pair = Pair::start(binary).await?;
    let disk = Writable::start(&pair.west).await?;
    pair.replicate(VM, &[]).await?;
    let links = [
        ("loopback", Quality::default(), Some(1.0)),
        ("1 ms", Quality { one_way: Duration::from_micros(500), bytes_per_second: None }, Some(1.0)),
        (
            "40 ms, 100 Mbit/s",
            Quality { one_way: Duration::from_millis(20), bytes_per_second: Some(12_500_000) },
            None,
        ),
    ];
    let mut measurements = Vec::new();
    for (name, quality, limit) in links {
        progress(&format!("looking at the RPO over {name}"));
        pair.link.set_quality(quality);
        pair.until_in_sync(VM).await?;
        let (load, looks) = tokio::join!(
            disk.load_at(LOAD_BYTES_PER_SECOND, scale.rpo_window),
            looks(&pair, scale.rpo_window)
        );
        load?;
        measurements.extend(percentiles(&format!("under load, {name}"), looks?, limit));
    }
    pair.link.set_quality(Quality::default());
    pair.until(VM, "at rest", |view| view.write_bytes_per_second == 0 && view.lag_bytes < MIB).await?;
    progress("looking at the RPO of a guest that writes nothing");
    let (carried, journal) = (pair.link.carried_bytes(), pair.status(VM).await?.replica_bytes);
    let begun = Instant::now();
    measurements.extend(percentiles("idle, loopback", looks(&pair, scale.rpo_window).await?, Some(1.0)));
    let a_day = |bytes: u64| bytes as f64 * 86_400.0 / begun.elapsed().as_secs_f64() / MIB as f64;
    let grown = pair.status(VM).await?.replica_bytes.saturating_sub(journal);
    measurements.push(Measurement::new("journal of an idle guest", a_day(grown), "MiB/day"));
    let carried = pair.link.carried_bytes() - carried;
    measurements.push(Measurement::new("link of an idle guest", a_day(carried), "MiB/day"));
    pair.stop(VM).await?;
    disk.check().await?;
    Ok(measurements)
}

/// The RPO in seconds, as the product tells it, again and again.
async fn looks(pair: &Pair, window: Duration) -> Result<Vec<f64>> {
    let (begun, mut looks) = (Instant::now(), Vec::new());
    while begun.elapsed() < window {
        looks.extend(pair.status(VM).await?.rpo_seconds);
        sleep(LOOK_INTERVAL).await;
    }
    Ok(looks)
}

fn percentiles(what: &str, mut looks: Vec<f64>, limit: Option<f64>) -> Vec<Measurement> {
    looks.sort_by(f64::total_cmp);
    let at = |part: f64| looks.get((looks.len() as f64 * part) as usize).copied();
    let (Some(p50), Some(p99)) = (at(0.5), at(0.99)) else { return Vec::new() };
    let p99 = Measurement::new(format!("RPO p99, {what}"), p99, "s");
    let p99 = match limit {
        Some(limit) => p99.at_most(limit),
        None => p99,
    };
    vec![Measurement::new(format!("RPO p50, {what}"), p50, "s"), p99]
}
