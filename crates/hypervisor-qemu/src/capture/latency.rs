//! What a capture costs the guest's writes, from QEMU's own histograms.

use hypervisor::Result;
use serde_json::{Value, json};

use crate::{monitor::Monitor, topology::GuestDisk};

/// The lowest and highest latency told apart, in nanoseconds: 20 µs to 20 s.
const RANGE_NS: (u64, u64) = (20_000, 20_000_000_000);

/// The boundaries between the histogram's bins: each is a tenth above the one before.
fn boundaries_ns() -> Vec<u64> {
    std::iter::successors(Some(RANGE_NS.0), |boundary| Some(boundary + boundary / 10))
        .take_while(|&boundary| boundary <= RANGE_NS.1)
        .collect()
}

/// Starts new histograms of the writes of these disks. A QEMU that cannot is left alone: the cost is then unknown.
pub(super) async fn arm(monitor: &Monitor, disks: impl Iterator<Item = &GuestDisk>) -> Result<()> {
    if !monitor.capabilities().await?.latency_histogram {
        return Ok(());
    }
    for disk in disks {
        let order = json!({"id": disk.device.backend, "boundaries-write": boundaries_ns()});
        if let Err(error) = monitor.execute("block-latency-histogram-set", order).await {
            tracing::debug!(%error, disk = %disk.name, "no latency histogram");
        }
    }
    Ok(())
}

/// The 99th percentile of the latency of all writes since the histograms were armed, in microseconds; none without writes.
pub(super) async fn write_p99_us(monitor: &Monitor) -> Result<Option<u64>> {
    let stats = monitor.query("query-blockstats").await?;
    let histograms: Vec<&Value> = stats
        .as_array()
        .into_iter()
        .flatten()
        .map(|device| &device["stats"]["wr_latency_histogram"])
        .filter(|histogram| histogram.is_object())
        .collect();
    Ok(percentile_us(&histograms))
}

/// The upper boundary of the bin that the 99th percentile falls into. Histograms with other boundaries are not ours.
fn percentile_us(histograms: &[&Value]) -> Option<u64> {
    let boundaries = boundaries_ns();
    let mut counts = vec![0u64; boundaries.len() + 1];
    for histogram in histograms {
        let numbers = |name: &str| -> Vec<u64> {
            histogram[name].as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
        };
        if numbers("boundaries") == boundaries {
            counts
                .iter_mut()
                .zip(numbers("bins"))
                .for_each(|(count, bin)| *count = count.saturating_add(bin));
        }
    }
    let total = counts.iter().fold(0u64, |total, &count| total.saturating_add(count));
    let mut left = total - total / 100;
    for (place, &count) in counts.iter().enumerate() {
        if count > 0 && count >= left {
            return boundaries.get(place).or(boundaries.last()).map(|boundary| boundary / 1000);
        }
        left = left.saturating_sub(count);
    }
    None
}

#[cfg(test)]
mod tests;
