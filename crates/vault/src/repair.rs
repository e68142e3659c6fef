//! Healing a vault: what is damaged is taken from copies or made anew from what is left.
//!
//! Where the store keeps earlier versions of objects, what somebody deleted or wrote over is hidden and not gone: that comes
//! first. Objects that are named by their digest heal by being put again, from any copy, without a key. An entry of the log is
//! overwritten only when it is damaged and something of ours names the one in the copy. What no copy has: an index segment is
//! made anew from the packs, and a damaged log is left behind: a state that says all that can still be known is written after
//! it, and keeps what may have been protected.
//!
//! Others work meanwhile. What is gone is lost only if the log, read again, still needs it; and what is made anew counts only
//! if no collection came between.

mod hidden;
mod hidden_log;
mod index;
mod log;
mod objects;

use std::sync::Arc;

use model::{PointId, Timestamp, VmId};

use crate::{
    Digest, Monitor, Result, Sequence, StoreLocation, Vault,
    flaw::Flaw,
    location::versions::Versions,
    log::{LogPart, SALVAGE_HOLD, State},
    store::Store,
    vault::Shared,
};

/// Findings and points that are listed one by one; the rest is only counted.
const LISTED_MAX: usize = 10_000;

/// How a vault is repaired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepairOptions {
    /// Only say what would be done.
    pub dry_run: bool,
}

/// An object of a vault that is damaged or missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DamagedObject {
    /// The config.
    Config,
    /// A key slot.
    KeySlot(Digest),
    /// An entry of the log.
    LogEntry(Sequence),
    /// A state of the log.
    State(Sequence),
    /// The index as a whole: chunks that points need are in packs that no segment lists.
    Index,
    /// An index segment.
    IndexSegment(Digest),
    /// A recovery point.
    Point(Digest),
    /// A pack.
    Pack(Digest),
}

/// How a damaged object is healed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cure {
    /// The store has it as an earlier version, which is what readers get again.
    Uncovered,
    /// A copy has it.
    Copied,
    /// It is made anew from what is left: what nothing else says is lost, but nobody stumbles over it any more.
    Rebuilt,
    /// It is removed: there are others that do the same.
    Removed,
}

/// A damaged object, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairFinding {
    /// The object.
    pub object: DamagedObject,
    /// What is wrong with it.
    pub reason: String,
    /// How it is healed; none where it is not.
    pub cure: Option<Cure>,
}

/// A recovery point that cannot be restored whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HurtPoint {
    /// The point.
    pub id: PointId,
    /// Its VM.
    pub vm_id: VmId,
    /// The moment that it shows.
    pub captured_at: Timestamp,
    /// Bytes of its disks that are lost; none where the point itself is.
    pub lost_bytes: Option<u64>,
}

/// A recovery point that nobody may delete until somebody has looked at it and released it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldPoint {
    /// The point.
    pub id: PointId,
    /// Its VM.
    pub vm_id: VmId,
    /// The moment that it shows.
    pub captured_at: Timestamp,
}

/// What a repair found and did; in a dry run, what it would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// The findings, at most 10,000.
    pub findings: Vec<RepairFinding>,
    /// How many there are in all.
    pub finding_count: u64,
    /// How many of them are healed.
    pub healed_count: u64,
    /// The points that are not whole after it, or in a dry run before it; at most 10,000.
    pub hurt: Vec<HurtPoint>,
    /// The points that were put under a hold, because the entries of the log that would tell whether they were under one are
    /// lost; at most 10,000. [`Vault::release_points`] releases them.
    pub held: Vec<HeldPoint>,
}

impl RepairReport {
    /// Notes the points of a state that was pieced together which nobody may delete before somebody has looked.
    fn add_held(&mut self, state: &State) {
        let points = state.body.points.iter();
        let held = points.filter(|(_, point)| point.hold.as_deref() == Some(SALVAGE_HOLD));
        let held =
            held.map(|(id, point)| HeldPoint { id: *id, vm_id: point.vm_id, captured_at: point.captured_at });
        self.held = held.take(LISTED_MAX).collect();
    }

    fn add(&mut self, object: DamagedObject, reason: String, cure: Option<Cure>) {
        self.finding_count += 1;
        self.healed_count += u64::from(cure.is_some());
        if self.findings.len() < LISTED_MAX {
            self.findings.push(RepairFinding { object, reason, cure });
        }
    }
}

/// One run of a repair.
struct Repair<'a> {
    /// The vault, of which nothing is believed that was not read now.
    shared: Arc<Shared>,
    /// The same, which may have read what is damaged now.
    live: Arc<Shared>,
    copies: Vec<Store>,
    /// Earlier versions of the vault's objects, where the store can keep them.
    versions: Option<Versions>,
    /// In a dry run, the state of the vault once what is hidden of its log is brought back.
    foreseen: Option<State>,
    is_dry: bool,
    monitor: &'a Monitor,
    report: RepairReport,
}

impl Vault {
    /// Reads the whole vault, and heals what is damaged: from earlier versions that the store keeps, from the copies at
    /// `copies`, the first that has it, and otherwise from within. Overwrites nothing that is sound. May be stopped at any moment and run again. Progress counts bytes of
    /// packs.
    ///
    /// A handle that can only write heals all but index segments that no copy has.
    ///
    /// Other hosts may go on to use the vault meanwhile. Where the log was damaged, a host that had read it before is told to
    /// begin anew.
    ///
    /// # Errors
    /// Whatever keeps the vault or a copy from being read, or the vault from being written; what cannot be healed is no error.
    pub async fn repair(
        &self,
        copies: &[StoreLocation],
        options: RepairOptions,
        monitor: &Monitor,
    ) -> Result<RepairReport> {
        monitor.unless_cancelled(Box::pin(self.run_repair(copies, options, monitor))).await
    }

    async fn run_repair(
        &self,
        copies: &[StoreLocation],
        options: RepairOptions,
        monitor: &Monitor,
    ) -> Result<RepairReport> {
        let mut stores = Vec::new();
        for copy in copies {
            // A copy that cannot be asked may have what is about to be given up: nothing is done without it.
            let store = Store::open(copy, &self.shared.env).await.map_err(|error| {
                error.with_guidance(
                    "repair without this copy: name the others with --from-copy, or remove it with: holdfast vault copy remove",
                )
            })?;
            stores.push(store);
        }
        let mut repair = Repair {
            shared: Arc::new(self.shared.afresh()),
            live: Arc::clone(&self.shared),
            copies: stores,
            versions: hidden::versions(&self.shared.store).await?,
            foreseen: None,
            is_dry: options.dry_run,
            monitor,
            report: RepairReport::default(),
        };
        repair.heal_config().await?;
        repair.heal_slots().await?;
        let mut health = repair.heal_log().await?;
        loop {
            let swap = repair.heal_segments(&mut health.state).await?;
            if repair.go_on(&mut health, &swap).await? {
                repair.report_index(swap);
                break;
            }
            // A collection came between: the index is to be looked at anew.
            repair.shared = Arc::new(self.shared.afresh());
        }
        repair.heal_packs(&mut health.state).await?;
        let points = repair.heal_points(&mut health.state).await?;
        if !repair.shared.has_flaw(Flaw::RepairHidesHurt) {
            repair.find_hurt(&points).await?;
        }
        Ok(repair.report)
    }
}

/// What a repair knows of the log.
struct LogHealth {
    state: State,
    /// What of it is damaged that no copy heals.
    damage: Vec<LogPart>,
}

#[cfg(test)]
mod tests;
