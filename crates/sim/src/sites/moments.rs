//! Moments of the VM's disks that are held, and what is tracked from one to the next, as captures of a hypervisor do it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    guest::{Disks, Sector, Span},
    host::Host,
    tap::Result,
};

/// What was written since a moment.
#[derive(Debug, Clone, Default)]
struct Bitmap {
    sectors: BTreeSet<Sector>,
    records: bool,
}

/// What a VM has of moments.
#[derive(Debug, Default)]
pub(crate) struct Moments {
    bitmaps: BTreeMap<u64, Bitmap>,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    epoch: u64,
    disks: Arc<Disks>,
    is_at_rest: bool,
}

/// A moment that is held.
pub(crate) struct Captured {
    /// What is tracked since it.
    pub(crate) epoch: u64,
    pub(crate) disks: Arc<Disks>,
    pub(crate) is_at_rest: bool,
    /// What was written since the trusted one; none when that is not known.
    pub(crate) missed: Option<BTreeSet<Sector>>,
}

impl Moments {
    pub(super) fn track(&mut self, span: Span) {
        let recording = self.bitmaps.values_mut().filter(|bitmap| bitmap.records);
        recording.for_each(|bitmap| bitmap.sectors.extend(span.sectors()));
    }

    /// The VM ends, and with it what was held while it ran.
    pub(super) fn end_running(&mut self) {
        self.held.take_if(|held| !held.is_at_rest);
    }

    /// A committed bitmap that records is complete; one that is stopped becomes complete by taking in those that record.
    fn settle(&mut self, committed: Option<u64>, forgets: bool) {
        let others: Vec<u64> =
            self.bitmaps.keys().copied().filter(|epoch| Some(*epoch) != committed).collect();
        let others: Vec<Bitmap> = others.iter().filter_map(|epoch| self.bitmaps.remove(epoch)).collect();
        let Some(kept) = committed.and_then(|epoch| self.bitmaps.get_mut(&epoch)) else { return };
        if !kept.records && others.iter().any(|other| other.records) {
            kept.records = true;
            if !forgets {
                kept.sectors.extend(others.into_iter().flat_map(|other| other.sectors));
            }
        }
    }
}

impl Host {
    /// Holds a moment, and tells what was written since the trusted one.
    pub(crate) fn capture(&mut self, trusted: Option<u64>) -> Result<Captured> {
        let epoch = self.number();
        let vm = self.vm.as_mut().ok_or("there is no VM")?;
        let is_at_rest = !vm.runs;
        vm.moments.settle(trusted, false);
        let baseline = trusted.and_then(|trusted| vm.moments.bitmaps.get_mut(&trusted));
        let baseline = baseline.filter(|baseline| baseline.records);
        let missed = baseline.map(|baseline| {
            baseline.records = is_at_rest;
            baseline.sectors.clone()
        });
        vm.moments.bitmaps.insert(epoch, Bitmap { sectors: BTreeSet::new(), records: true });
        let disks = Arc::clone(&vm.disks);
        vm.moments.held = Some(Held { epoch, disks: Arc::clone(&disks), is_at_rest });
        Ok(Captured { epoch, disks, is_at_rest, missed })
    }

    /// Reads of a moment, as long as it is held.
    pub(crate) fn read_moment(&self, epoch: u64, span: Span) -> Result<Vec<u8>> {
        let held = self.vm.as_ref().and_then(|vm| vm.moments.held.as_ref());
        let held = held.filter(|held| held.epoch == epoch).ok_or("the moment is held no longer")?;
        Ok(span.bytes(&held.disks).to_vec())
    }

    /// Lets go of a moment. This one is committed from now on.
    pub(crate) fn let_go(&mut self, epoch: u64, committed: Option<u64>, forgets: bool) {
        let Some(vm) = &mut self.vm else { return };
        vm.moments.held.take_if(|held| held.epoch == epoch);
        vm.moments.settle(committed, forgets);
    }

    pub(super) fn lose_moment(&mut self) {
        if let Some(vm) = &mut self.vm {
            vm.moments.held = None;
        }
    }
}
