//! From which snapshots a new one starts.

use std::collections::BTreeSet;

use catalog::{Catalog, KnownSnapshot};
use hypervisor::Baseline;
use model::{DiskName, VmId};
use vault::{PointRecord, Vault};

use crate::{failure::Result, site::Site};

/// Snapshots that are looked at. Disks that none of them has are read as a whole: it costs time, and nothing else.
const LOOKED_AT: u32 = 64;

/// The snapshots of a family in the store from which a new one starts, newest first: for each disk the newest that has it.
/// One that cannot be read is the parent of nothing.
pub(crate) async fn earlier(catalog: &Catalog, vault: &Vault, family: VmId) -> Result<Vec<PointRecord>> {
    let mut seen = Seen::default();
    let mut points = Vec::new();
    for snapshot in catalog.stored_snapshots(family, LOOKED_AT).await? {
        if seen.is_complete || !seen.lacks(&snapshot) {
            continue;
        }
        match vault.point(snapshot.id.point_id()).await {
            Ok(point) => {
                seen.add(&snapshot);
                points.push(point);
            }
            Err(error) => {
                tracing::warn!(snapshot = %snapshot.name, %error, "a snapshot cannot be built on");
            }
        }
    }
    Ok(points)
}

/// The captures whose bitmaps count what has changed since the last snapshots of a family.
pub(crate) async fn committed(site: &Site, family: VmId) -> Result<Baseline> {
    let mut seen = Seen::default();
    let mut baseline = Baseline::default();
    for snapshot in site.catalog.stored_snapshots(family, LOOKED_AT).await? {
        if seen.is_complete {
            break;
        }
        for disk in snapshot.disks.iter().filter(|disk| !seen.disks.contains(&disk.name)) {
            baseline.set(disk.name.clone(), snapshot.capture_id);
        }
        seen.add(&snapshot);
    }
    Ok(baseline)
}

/// The disks of which a snapshot was seen.
#[derive(Default)]
struct Seen {
    disks: BTreeSet<DiskName>,
    /// A snapshot of the whole VM was among them: what it did not have is new since.
    is_complete: bool,
}

impl Seen {
    fn lacks(&self, snapshot: &KnownSnapshot) -> bool {
        snapshot.disks.iter().any(|disk| !self.disks.contains(&disk.name))
    }

    fn add(&mut self, snapshot: &KnownSnapshot) {
        self.disks.extend(snapshot.disks.iter().map(|disk| disk.name.clone()));
        self.is_complete |= snapshot.disk.is_none();
    }
}
