//! Epochs of tracking: what was written while each lasted, in a dirty bitmap of its own on every disk.
//!
//! One transaction begins an epoch's bitmaps and stops those of the one before, so that every write is in exactly one epoch.

use std::ops::Range;

use hypervisor::{Error, ErrorKind, Result, TrackingEpoch};
use model::{DiskName, JournalId};
use serde_json::{Value, json};

use super::plan::PlannedTap;
use crate::{monitor::Monitor, names};

/// Bytes of disk behind one bit: what a resync reads at least for a write.
pub(super) const GRANULARITY_BYTES: u32 = 16 << 10;
/// Epochs that are kept until the journal has what they track: each costs memory for as long.
const EPOCHS_MAX: usize = 64;

/// The bitmap of an epoch on one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EpochBitmap {
    pub(super) epoch: TrackingEpoch,
    recording: bool,
    /// Whether a QEMU ended without writing it back: then it says nothing.
    inconsistent: bool,
    /// Whether an export shows it.
    busy: bool,
}

/// The epochs of a journal on one disk.
#[derive(Debug, Clone)]
pub(super) struct DiskEpochs {
    disk: DiskName,
    node: String,
    keeps_bitmaps: bool,
    bitmaps: Vec<EpochBitmap>,
}

impl DiskEpochs {
    /// The bitmaps that together hold what was written since an epoch began and before `first` did; or why they do not, as a
    /// clause.
    pub(super) fn covering(
        &self,
        journal_id: JournalId,
        trusted: Option<TrackingEpoch>,
        first: TrackingEpoch,
    ) -> std::result::Result<Vec<String>, String> {
        let trusted = trusted.ok_or_else(|| "nothing is known of what the journal has".to_owned())?;
        let newest = self.bitmaps.iter().map(|bitmap| bitmap.epoch).max();
        for number in trusted.0..=newest.unwrap_or(trusted).0.max(trusted.0) {
            self.check(TrackingEpoch(number), Some(TrackingEpoch(number)) == newest)?;
        }
        let missed: Range<u64> = trusted.0..first.0;
        Ok(missed.map(|number| names::tap_bitmap(journal_id, TrackingEpoch(number), &self.disk)).collect())
    }

    fn check(&self, epoch: TrackingEpoch, is_newest: bool) -> std::result::Result<(), String> {
        match self.bitmaps.iter().find(|bitmap| bitmap.epoch == epoch) {
            None if self.keeps_bitmaps => Err(
                "the disk does not carry its change tracking: it is new, its image was replaced, or the VM was powered off \
                 without closing it"
                    .to_owned(),
            ),
            None => Err("a disk that is not qcow2 loses its change tracking when the VM stops".to_owned()),
            Some(bitmap) if bitmap.inconsistent => {
                Err("the VM was powered off without closing its disks, so that changes may be missing".to_owned())
            }
            Some(bitmap) if is_newest && !bitmap.recording => {
                Err("another program has stopped the recording of changes".to_owned())
            }
            Some(_) => Ok(()),
        }
    }
}

/// The epochs of a journal on all disks of a VM.
#[derive(Debug, Clone)]
pub(super) struct Epochs {
    pub(super) journal_id: JournalId,
    pub(super) disks: Vec<DiskEpochs>,
}

impl Epochs {
    /// Reads what QEMU has.
    pub(super) async fn read(monitor: &Monitor, journal_id: JournalId, disks: &[PlannedTap]) -> Result<Self> {
        let nodes = monitor.execute("query-named-block-nodes", json!({"flat": true})).await?;
        let disks = disks.iter().map(|planned| {
            let disk = &planned.disk;
            let node = entries(&nodes).find(|node| node["node-name"] == disk.format_node.as_str());
            let bitmaps = node.into_iter().flat_map(|node| entries(&node["dirty-bitmaps"]));
            let of_journal = |entry: &Value| {
                let (found, epoch) = names::epoch_of_bitmap(entry["name"].as_str()?, &disk.name)?;
                (found == journal_id).then(|| EpochBitmap {
                    epoch,
                    recording: entry["recording"] == true,
                    inconsistent: entry["inconsistent"] == true,
                    busy: entry["busy"] == true,
                })
            };
            DiskEpochs {
                disk: disk.name.clone(),
                node: disk.format_node.clone(),
                keeps_bitmaps: disk.keeps_bitmaps,
                bitmaps: bitmaps.filter_map(of_journal).collect(),
            }
        });
        Ok(Self { journal_id, disks: disks.collect() })
    }

    /// The epoch that comes next: newer than all that is known, also where the bitmaps are lost.
    pub(super) fn next(&self, known: impl IntoIterator<Item = TrackingEpoch>) -> TrackingEpoch {
        let bitmaps = self.disks.iter().flat_map(|disk| &disk.bitmaps).map(|bitmap| bitmap.epoch);
        TrackingEpoch(bitmaps.chain(known).map(|epoch| epoch.0).max().unwrap_or(0).saturating_add(1))
    }

    /// Begins an epoch on all disks at one moment. All writes that were done before are with the mirrors when it returns.
    pub(super) async fn begin(&self, monitor: &Monitor, epoch: TrackingEpoch) -> Result<()> {
        if self.disks.iter().any(|disk| disk.bitmaps.len() >= EPOCHS_MAX) {
            let context =
                format!("{EPOCHS_MAX} epochs of tracking wait until the journal has what they track");
            return Err(
                Error::new(ErrorKind::Busy, context).with_guidance("wait until the journal has caught up")
            );
        }
        let mut actions = Vec::new();
        for disk in &self.disks {
            actions.push(json!({
                "type": "block-dirty-bitmap-add",
                "data": {
                    "node": disk.node,
                    "name": names::tap_bitmap(self.journal_id, epoch, &disk.disk),
                    "persistent": disk.keeps_bitmaps,
                    "granularity": GRANULARITY_BYTES,
                },
            }));
            let recording = disk.bitmaps.iter().filter(|bitmap| bitmap.recording && !bitmap.inconsistent);
            actions.extend(recording.map(|bitmap| self.action("disable", disk, bitmap)));
        }
        monitor.execute("transaction", json!({"actions": actions})).await.map(drop)
    }

    /// Drops what was tracked before an epoch, and what says nothing.
    pub(super) async fn drop_before(&self, monitor: &Monitor, epoch: TrackingEpoch) -> Result<()> {
        let mut actions = Vec::new();
        for disk in &self.disks {
            for bitmap in disk.bitmaps.iter().filter(|bitmap| !bitmap.busy) {
                if bitmap.inconsistent {
                    // A transaction takes none of these.
                    let action = self.action("remove", disk, bitmap);
                    monitor.execute("block-dirty-bitmap-remove", action["data"].clone()).await?;
                } else if bitmap.epoch < epoch {
                    actions.push(self.action("remove", disk, bitmap));
                }
            }
        }
        if actions.is_empty() {
            return Ok(());
        }
        monitor.execute("transaction", json!({"actions": actions})).await.map(drop)
    }

    fn action(&self, verb: &str, disk: &DiskEpochs, bitmap: &EpochBitmap) -> Value {
        let name = names::tap_bitmap(self.journal_id, bitmap.epoch, &disk.disk);
        json!({"type": format!("block-dirty-bitmap-{verb}"), "data": {"node": disk.node, "name": name}})
    }
}

/// Removes a journal's bitmaps from all nodes of a VM.
pub(super) async fn forget(monitor: &Monitor, journal_id: JournalId) -> Result<()> {
    let nodes = monitor.execute("query-named-block-nodes", json!({"flat": true})).await?;
    for node in entries(&nodes) {
        for bitmap in entries(&node["dirty-bitmaps"]) {
            if bitmap["name"].as_str().and_then(names::journal_of) == Some(journal_id) {
                let order = json!({"node": node["node-name"], "name": bitmap["name"]});
                monitor.execute("block-dirty-bitmap-remove", order).await?;
            }
        }
    }
    Ok(())
}

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests;
