//! What must be true: the points that were made, what is in them, and what was done to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use model::{PointId, VaultSettings, VmId};
use tokio::time::Instant;

use vault::DiskMap;

use crate::{disk::Content, process::DAY};

/// What is known of a point from outside.
#[derive(Debug, Clone)]
pub(crate) struct PointFacts {
    /// The VM it is of, by its number.
    pub(crate) vm: usize,
    /// What its disks hold.
    pub(crate) disks: Vec<Arc<Content>>,
    /// Where its disks are, once somebody tried to commit it.
    pub(crate) maps: Vec<DiskMap>,
    /// A commit was acknowledged; else it was tried, and the log knows.
    pub(crate) is_committed: bool,
    /// When somebody first tried to delete it.
    pub(crate) delete_tried_at: Option<Instant>,
    /// A hold was acknowledged before anybody tried to delete it.
    pub(crate) is_held: bool,
    /// Somebody tried to release it.
    pub(crate) release_tried: bool,
}

impl PointFacts {
    /// Whether nobody ever gave anybody leave to remove it.
    pub(crate) fn must_be_live(&self) -> bool {
        let is_held = self.is_held && !self.release_tried;
        self.is_committed && (self.delete_tried_at.is_none() || is_held)
    }
}

/// A VM whose disks change.
#[derive(Debug, Clone)]
pub(crate) struct Vm {
    pub(crate) id: VmId,
    pub(crate) disks: Vec<Content>,
}

/// All that is known.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) vms: Vec<Vm>,
    pub(crate) points: BTreeMap<PointId, PointFacts>,
    /// The shortest time for which anybody asked to keep deleted points.
    pub(crate) soft_delete_days_min: u32,
    /// Settings that locked the vault, as far as that was acknowledged.
    pub(crate) locked: Option<VaultSettings>,
    /// The first rule that was seen broken.
    pub(crate) violation: Option<String>,
}

impl Model {
    /// The VMs of a new world.
    pub(crate) fn new(vms: Vec<Vm>) -> Self {
        let soft_delete_days_min = VaultSettings::default().soft_delete_days;
        Self { vms, points: BTreeMap::new(), soft_delete_days_min, locked: None, violation: None }
    }

    /// Changes what is known of these points.
    pub(crate) fn change(&mut self, points: &[PointId], mut change: impl FnMut(&mut PointFacts)) {
        for id in points {
            self.points.get_mut(id).into_iter().for_each(&mut change);
        }
    }

    /// The points whose commit was acknowledged.
    pub(crate) fn committed(&self) -> BTreeSet<PointId> {
        self.points.iter().filter(|(_, facts)| facts.is_committed).map(|(id, _)| *id).collect()
    }

    /// The points that must be there.
    pub(crate) fn needed(&self) -> BTreeSet<PointId> {
        self.points.iter().filter(|(_, facts)| facts.must_be_live()).map(|(id, _)| *id).collect()
    }

    /// Whether a point must be there at least among the deleted ones: by the true time it cannot have been purged.
    pub(crate) fn must_be_kept(&self, facts: &PointFacts) -> bool {
        let soft_delete: Duration = self.soft_delete_days_min * DAY;
        let is_young = facts.delete_tried_at.is_some_and(|tried_at| tried_at.elapsed() < soft_delete);
        facts.must_be_live() || (facts.is_committed && is_young)
    }

    /// Notes that a rule is broken.
    pub(crate) fn violated(&mut self, rule: impl Into<String>) {
        self.violation.get_or_insert(rule.into());
    }
}
