//! Change tracking: which bitmap can be trusted, and how tracking goes on after a capture.
//!
//! At the moment of a capture, one transaction starts its bitmap and stops the baseline's, which then is exactly what has
//! changed in between. Afterwards there is one committed capture, and its bitmap must record everything since:
//! - the new capture was kept: its bitmap has recorded since its moment; the others go;
//! - it was abandoned: the stopped baseline takes in what the new one recorded, and records again.
//!
//! Backups and snapshots have a chain of bitmaps each, and settling one never touches the other.
//!
//! Both follow from one rule that needs no history, so that it also holds after a crash between any two steps: a committed
//! bitmap that records is complete; one that is stopped becomes complete by merging in those that record.

use hypervisor::{Baseline, Chain, Result};
use model::{CaptureId, DiskName};
use serde_json::{Value, json};

use crate::{
    monitor::Monitor,
    names,
    topology::{Bitmap, GuestDisk, Topology},
};

/// Bytes of disk behind one bit: the vault's smallest chunk. Finer bits would not save a read, coarser ones cost some.
pub(super) const GRANULARITY_BYTES: u32 = 16 << 10;

/// The name of the bitmap that says what has changed since the baseline, or why none does, as a clause.
pub(super) fn usable_baseline(
    disk: &GuestDisk,
    chain: Chain,
    baseline: Option<CaptureId>,
) -> std::result::Result<String, String> {
    if disk.device.shared {
        return Err(
            "the disk is shared (share-rw=on), and nobody tracks what other machines write".to_owned()
        );
    }
    usable(&disk.bitmaps, &disk.name, disk.keeps_bitmaps, (chain, baseline))
}

/// The same for bitmaps wherever they are.
pub(super) fn usable(
    bitmaps: &[Bitmap],
    disk: &DiskName,
    keeps_bitmaps: bool,
    (chain, baseline): (Chain, Option<CaptureId>),
) -> std::result::Result<String, String> {
    let link = chain.as_str();
    let baseline = baseline.ok_or_else(|| format!("there is no earlier {link} of the disk"))?;
    let wanted = names::bitmap(chain, baseline, disk);
    let Some(bitmap) = bitmaps.iter().find(|bitmap| bitmap.name == wanted) else {
        return Err(if keeps_bitmaps {
            format!(
                "the disk does not carry the last {link}'s bitmap: it is new, its image was replaced, or the VM was powered \
                 off without closing it"
            )
        } else {
            "a disk that is not qcow2 loses its change tracking when the VM stops".to_owned()
        });
    };
    if bitmap.inconsistent {
        Err("the VM was powered off without closing its disks, so the bitmap may miss changes".to_owned())
    } else if !bitmap.recording {
        Err(format!("recording of changes was stopped since the last {link}"))
    } else {
        Ok(bitmap.name.clone())
    }
}

/// The actions that, in one transaction, start tracking at a new capture and stop it for the baseline. None for a disk that
/// others write to: a bitmap without their writes could be trusted once the disk is shared no more.
pub(super) fn turn_over(
    disk: &GuestDisk,
    (chain, capture_id): (Chain, CaptureId),
    baseline: Option<&str>,
) -> Vec<Value> {
    if disk.device.shared {
        return Vec::new();
    }
    let mut actions = vec![json!({
        "type": "block-dirty-bitmap-add",
        "data": {
            "node": disk.format_node,
            "name": names::bitmap(chain, capture_id, &disk.name),
            "persistent": disk.keeps_bitmaps,
            "granularity": GRANULARITY_BYTES,
        },
    })];
    actions.extend(baseline.map(|name| action("disable", disk, name)));
    actions
}

fn action(verb: &str, disk: &GuestDisk, name: &str) -> Value {
    json!({"type": format!("block-dirty-bitmap-{verb}"), "data": {"node": disk.format_node, "name": name}})
}

/// What settling does to the bitmaps of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settlement {
    /// The committed bitmap, when it must take in the others and record again.
    pub(super) revived: Option<String>,
    /// Sound bitmaps that go, after they were taken in.
    pub(super) retired: Vec<String>,
    /// Inconsistent bitmaps that go.
    pub(super) discarded: Vec<String>,
}

impl Settlement {
    /// What to do with a disk's bitmaps of one chain, given its newest capture that was committed. A committed bitmap that
    /// cannot be made whole stays: it tells the next capture why there is no map.
    pub(super) fn of(
        bitmaps: &[Bitmap],
        disk: &DiskName,
        chain: Chain,
        committed: Option<CaptureId>,
    ) -> Self {
        let committed = committed.map(|capture_id| names::bitmap(chain, capture_id, disk));
        let of_chain = bitmaps.iter().filter(|bitmap| bitmap.chain == chain);
        let (kept, others): (Vec<_>, Vec<_>) =
            of_chain.partition(|bitmap| committed.as_ref() == Some(&bitmap.name));
        let (discarded, retired): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|bitmap| bitmap.inconsistent);
        let continued = retired.iter().any(|bitmap| bitmap.recording);
        let stopped = kept.first().filter(|bitmap| !bitmap.recording && !bitmap.inconsistent);
        let names = |bitmaps: Vec<&Bitmap>| bitmaps.into_iter().map(|bitmap| bitmap.name.clone()).collect();
        Self {
            revived: stopped.filter(|_| continued).map(|bitmap| bitmap.name.clone()),
            retired: names(retired),
            discarded: names(discarded),
        }
    }

    fn is_nothing(&self) -> bool {
        self.revived.is_none() && self.retired.is_empty() && self.discarded.is_empty()
    }
}

/// Settles a chain's bitmaps in a running VM. Each disk in one transaction, so that no write falls between two bitmaps.
pub(super) async fn settle(
    monitor: &Monitor,
    topology: &Topology,
    chain: Chain,
    committed: &Baseline,
) -> Result<Vec<String>> {
    let mut done = Vec::new();
    for disk in &topology.disks {
        let committed = committed.of(&disk.name).filter(|_| !disk.device.shared);
        let settlement = Settlement::of(&disk.bitmaps, &disk.name, chain, committed);
        if settlement.is_nothing() {
            continue;
        }
        let mut actions = Vec::new();
        if let Some(name) = &settlement.revived {
            let merge = json!({"node": disk.format_node, "target": name, "bitmaps": settlement.retired});
            actions.push(action("enable", disk, name));
            actions.push(json!({"type": "block-dirty-bitmap-merge", "data": merge}));
            done.push(format!("took up change tracking of the disk {} again", disk.name));
        }
        actions.extend(settlement.retired.iter().map(|name| action("remove", disk, name)));
        if !actions.is_empty() {
            monitor.execute("transaction", json!({"actions": actions})).await?;
        }
        for name in &settlement.discarded {
            let bitmap = json!({"node": disk.format_node, "name": name});
            monitor.execute("block-dirty-bitmap-remove", bitmap).await?;
        }
        let removed = settlement.retired.len() + settlement.discarded.len();
        done.push(format!("removed {removed} old bitmaps of the disk {}", disk.name));
    }
    Ok(done)
}
