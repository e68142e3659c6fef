//! What an incremental reads, against what the guest has written, on a disk and on one that is much larger.

use anyhow::Result;
use model::ByteCount;
use testkit::agent::GuestAgent;

use super::{
    guest_cost::LARGE_FACTOR,
    protected::{ProtectedVm, read_bytes},
};
use crate::bench::{guest_writes::WritePattern, progress, report::Measurement};

/// The average size of a chunk: what may be read beside each run of changes.
const CHUNK_BYTES: f64 = 65536.0;

const MIB: f64 = 1048576.0;

/// Writes the same pattern to both disks, backs up after each, and compares.
pub async fn measure(
    guest: &GuestAgent,
    protected: &ProtectedVm<'_>,
    disk: ByteCount,
) -> Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    let patterns = [
        ("50 MB in 200 runs", WritePattern::random(disk, 200, ByteCount(508 << 10), 1)),
        ("400 single blocks of 4 KiB", WritePattern::random(disk, 400, ByteCount(4 << 10), 2)),
    ];
    for (name, pattern) in patterns {
        progress(&format!("incremental backups of {name}"));
        let (small, seconds) = back_up_pattern(guest, protected, &pattern, "small").await?;
        let (large, large_seconds) = back_up_pattern(guest, protected, &pattern, "large").await?;
        let dirty_mib = pattern.dirty().0 as f64 / MIB;
        let limit_mib = 1.1 * dirty_mib + pattern.run_count() as f64 * CHUNK_BYTES / MIB;
        let what = format!("incremental, {name}");
        measurements.extend([
            Measurement::new(format!("{what}: read"), small, "MiB")
                .beside("written", dirty_mib)
                .at_most(limit_mib),
            Measurement::new(format!("{what}: read of a disk {LARGE_FACTOR} times the size"), large, "MiB")
                .beside("the smaller disk", small)
                .ratio_at_most(1.01),
            Measurement::new(format!("{what}: time, disk {LARGE_FACTOR} times the size"), large_seconds, "s")
                .beside("the smaller disk", seconds),
        ]);
    }
    Ok(measurements)
}

/// Returns MiB read of the disk, and what the backup took in seconds.
async fn back_up_pattern(
    guest: &GuestAgent,
    protected: &ProtectedVm<'_>,
    pattern: &WritePattern,
    disk: &str,
) -> Result<(f64, f64)> {
    pattern.write(guest, disk).await?;
    let (point, took) = protected.back_up().await?;
    Ok((read_bytes(&point, disk)?.0 as f64 / MIB, took.as_secs_f64()))
}
