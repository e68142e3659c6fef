//! Vaults that look as if they held a lot, for measuring what grows with a vault. Everything that describes is real: index
//! segments, disk maps, points, log. What is described is not there: packs of data are empty files of the right length.

mod stand_in;

use std::{path::Path, sync::Arc};

use model::{
    ByteCount, CaptureCost, CaptureId, ChangeSource, Consistency, ConsistencyReached, DiskSummary, PointId,
    PointSummary, Timestamp, VaultSettings, VmDefinition, VmId,
};

use self::stand_in::{REGION_CHUNKS, StandIn, chunk_id};
use crate::{
    DiskMap, Error, PointRecord, Result, Vault,
    log::{Appended, Change, NewPoint, State},
    tree::{REGION_BYTES, TreeBuilder},
};

/// VMs, each of one disk.
const VMS: u8 = 20;

/// Points of each VM. Between two of them, one region in fifty changes.
const GENERATIONS: u8 = 10;

/// Regions that change are so far apart.
const CHANGE_EVERY: u64 = 50;

/// How many chunks there are, and in how many points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Different chunks of data.
    pub chunks: u64,
    /// Points, deleted ones included.
    pub points: u64,
    /// Of those, the points that a collection will purge.
    pub due_points: u64,
}

/// Fills an empty vault in this directory with about so many chunks: 200 points of 20 VMs whose disks are equal in their first
/// half but for what changed since. The points of one VM are deleted and due.
///
/// # Errors
/// Whatever keeps the directory from being written.
pub async fn fill(vault: &Vault, directory: &Path, chunks_wanted: u64) -> Result<Totals> {
    // The shared half once, then for each VM its own half and its changes.
    let halves = 1 + u64::from(VMS) + u64::from(VMS) * u64::from(GENERATIONS - 1) * 2 / CHANGE_EVERY;
    let region_count = (chunks_wanted * 2 / halves / REGION_CHUNKS).max(2 * CHANGE_EVERY);
    let mut filler = Filler {
        vault,
        state: vault.shared.log.refresh().await?,
        stand_in: StandIn::new(Arc::clone(&vault.shared), directory),
        disks: vec![Vec::new(); usize::from(VMS)],
        region_count,
    };
    for generation in 0..GENERATIONS {
        for vm in 0..VMS {
            filler.add_point(vm, generation).await?;
        }
    }
    let chunks = filler.stand_in.chunk_count();
    vault.set_settings(VaultSettings { soft_delete_days: 0, ..vault.settings().await? }).await?;
    let due: Vec<PointId> = (0..GENERATIONS).map(|generation| point_id(0, generation)).collect();
    vault.delete_points(&due).await?;
    Ok(Totals { chunks, points: u64::from(VMS) * u64::from(GENERATIONS), due_points: u64::from(GENERATIONS) })
}

/// Loads the vault's index. Returns how many packs are in it.
///
/// # Errors
/// Whatever keeps the index from being read.
pub async fn load_index(vault: &Vault) -> Result<usize> {
    vault.shared.refresh().await?;
    Ok(vault.shared.index.packs().len())
}

/// Asks a loaded index for so many chunks in no order, every other of which the vault does not have. Returns how many it has.
///
/// # Errors
/// Whatever happens to the files of the index directory.
pub fn look_up(vault: &Vault, chunks: u64, count: u64) -> Result<u64> {
    // A prime, so that all chunks have their turn.
    const STEP: u64 = 2_654_435_761;
    let mut held = 0;
    for number in 0..count {
        let known = number.wrapping_mul(STEP) % chunks;
        let asked = if number.is_multiple_of(2) { known } else { chunks + number };
        held += u64::from(vault.shared.index.holds(&chunk_id(asked))?);
    }
    Ok(held)
}

struct Filler<'a> {
    vault: &'a Vault,
    state: Arc<State>,
    stand_in: StandIn,
    /// The leaves of each VM's disk as it is.
    disks: Vec<Vec<crate::ChunkId>>,
    region_count: u64,
}

impl Filler<'_> {
    async fn add_point(&mut self, vm: u8, generation: u8) -> Result<()> {
        let region_count = self.region_count;
        let mut leaves = std::mem::take(&mut self.disks[usize::from(vm)]);
        let mut tree = TreeBuilder::new(region_count * REGION_BYTES);
        for region in 0..region_count {
            let place = region as usize;
            if generation == 0 {
                let core = self.disks.first().filter(|_| vm > 0 && region < region_count / 2);
                let leaf = match core.and_then(|core| core.get(place)) {
                    Some(leaf) => *leaf,
                    None => self.stand_in.add_region()?,
                };
                leaves.push(leaf);
            } else if (region + u64::from(vm) * 7 + u64::from(generation)).is_multiple_of(CHANGE_EVERY) {
                leaves[place] = self.stand_in.add_region()?;
            }
            tree.put_subtree(0, region, leaves[place], &mut self.stand_in)?;
            self.stand_in.write_full_segment().await?;
        }
        let map = tree.finish(&mut self.stand_in)?;
        self.disks[usize::from(vm)] = leaves;
        let segments = self.stand_in.finish_writer().await?;
        let point = point(vm, generation, map)?;
        let object = self.vault.shared.write_point(&point).await?;
        let new_point = NewPoint {
            id: point.summary.id,
            object,
            vm_id: point.summary.vm_id,
            captured_at: point.summary.captured_at,
            roots: map.root.into_iter().collect(),
        };
        let change = Change::Commit { point: new_point, segments, settled: Vec::new() };
        match self.vault.shared.log.try_append(&self.state, change).await? {
            Appended::Done(state) => self.state = state,
            Appended::Overtaken => return Err(Error::invalid("somebody else uses the vault")),
        }
        Ok(())
    }
}

fn point_id(vm: u8, generation: u8) -> PointId {
    PointId::from_random([1, vm, generation, 0, 0, 0, 0, 0, 0, 0])
}

fn point(vm: u8, generation: u8, map: DiskMap) -> Result<PointRecord> {
    const DAY_US: i64 = 86_400_000_000;
    let name = format!("vm{vm}");
    let definition: VmDefinition = serde_json::from_value(serde_json::json!({
        "name": name, "memory": "2GiB", "cpus": 2, "disk": [{ "name": "vda", "bus": "virtio" }],
    }))
    .map_err(|error| Error::invalid("the VM's definition is not one").with_source(error))?;
    let wrong = |_| Error::invalid("a name is not one");
    let disk = DiskSummary {
        name: "vda".parse().map_err(wrong)?,
        size_bytes: ByteCount(map.size_bytes),
        read_bytes: ByteCount(map.size_bytes),
        stored_bytes: ByteCount(map.size_bytes),
        source: ChangeSource::Compared { reason: "nothing is known of the disk".into() },
    };
    let summary = PointSummary {
        id: point_id(vm, generation),
        vm_id: VmId::from_random([vm; 10]),
        vm_name: name.parse().map_err(wrong)?,
        captured_at: Timestamp::from_microseconds(1_767_225_600_000_000 + i64::from(generation) * DAY_US),
        capture_id: CaptureId::from_random([1, vm, generation, 0, 0, 0, 0, 0, 0, 0]),
        parent: None,
        consistency: ConsistencyReached {
            asked: Consistency::Crash,
            reached: Consistency::Crash,
            shortfall: None,
        },
        disks: vec![disk],
        cost: CaptureCost::default(),
        label: None,
    };
    Ok(PointRecord { summary, definition, maps: vec![map] })
}

#[cfg(test)]
mod tests;
