//! Collection: purges deleted points whose time is over, and gives back the room of what nothing needs.
//!
//! Any number of writers and readers work meanwhile, and nobody waits for anybody. Everything that goes is named in an entry
//! of the log first; docs/decisions/2026-11-22-commit-log.md tells why that is enough.
//!
//! - `plan`: what is garbage, what is only suspected to be, and what is left alone
//! - `mark`, `marks`: what points need
//! - `execute`, `batch`, `segments`: the entries
//! - `sweep`: deleting what entries gave up
//! - `reserve`: room to do so in a full store

mod batch;
mod execute;
mod mark;
mod marks;
mod plan;
mod reserve;
mod segments;
mod sweep;

use std::collections::BTreeSet;

use model::{ByteCount, PointId};

use crate::{Error, ErrorKind, Monitor, Result, Vault};

pub(crate) use self::mark::Marker;
use self::plan::Survey;
pub use self::plan::{CollectPlan, PackTotals, PackUse, YoungPacks};

/// How often a collection starts over because of another one.
const TRIES: u32 = 5;

/// How a vault's garbage is collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectOptions {
    /// Hours for which packs of writers that have not committed are left alone. Less costs a writer that takes longer its work,
    /// and never any data.
    pub grace_hours: u32,
    /// A pack is rewritten when at least so many percent of it are not needed. More than 100 rewrites none.
    pub repack_dead_percent: u32,
    /// Points that are damaged, and are no reason to stop: what cannot be found of them any more counts as not needed.
    pub ignore_damaged: BTreeSet<PointId>,
}

impl Default for CollectOptions {
    /// Three days, longer than a backup takes; and packs of which a third could go.
    fn default() -> Self {
        Self { grace_hours: 72, repack_dead_percent: 30, ignore_damaged: BTreeSet::new() }
    }
}

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectReport {
    /// Points that were purged.
    pub points: u64,
    /// Packs that were deleted, and needed no rewriting.
    pub dropped_packs: u64,
    /// Packs that were deleted after what was needed of them was rewritten.
    pub repacked_packs: u64,
    /// Bytes of the deleted packs.
    pub deleted_bytes: ByteCount,
    /// Bytes of the packs that were written instead.
    pub rewritten_bytes: ByteCount,
    /// The store was full: packs of which a part is needed were left alone, since rewriting them takes room.
    pub is_repacking_left_out: bool,
}

/// What one entry of the log may do.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Packs that go.
    packs: usize,
    /// Segments that are rewritten.
    segments: usize,
    /// Live bytes that are copied; so much is in the store twice for a while.
    copied_bytes: u64,
}

impl Limits {
    const USUAL: Self = Self { packs: 20_000, segments: 1000, copied_bytes: 4 << 30 };

    /// In a full store: new segments must fit into the reserve.
    const FRUGAL: Self = Self { packs: 20_000, segments: 4, copied_bytes: 0 };
}

impl Vault {
    /// What a collection would do at this moment. Walks the maps of all points, and changes nothing but the store's clock
    /// object.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming a damaged point or segment: what it needs cannot be told.
    pub async fn plan_collection(&self, options: &CollectOptions, monitor: &Monitor) -> Result<CollectPlan> {
        let survey = monitor.unless_cancelled(Survey::make(&self.shared, options)).await?;
        Ok(survey.plan)
    }

    /// Purges deleted points whose time is over by the clocks of this host and of the store, and gives back the room of what
    /// no point needs. Writers and readers go on meanwhile. May be killed at any moment: the next collection finishes.
    /// Progress counts bytes of packs that may go. In a full store that has a reserve, it only deletes.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming a damaged point or segment; nothing was collected then. [`ErrorKind::Overtaken`] when
    /// others collect all the time.
    pub async fn collect(&self, options: &CollectOptions, monitor: &Monitor) -> Result<CollectReport> {
        monitor.unless_cancelled(Box::pin(self.collect_with_room(options, monitor))).await
    }

    async fn collect_with_room(&self, options: &CollectOptions, monitor: &Monitor) -> Result<CollectReport> {
        let mut released = false;
        let report = match self.collect_patiently(options, Limits::USUAL, monitor).await {
            Err(error) if error.kind() == ErrorKind::NoSpace && self.shared.release_reserve().await? => {
                tracing::warn!(%error, "the store is full: its reserve is used, and nothing is rewritten");
                released = true;
                let only_delete = CollectOptions { repack_dead_percent: u32::MAX, ..options.clone() };
                let report = self.collect_patiently(&only_delete, Limits::FRUGAL, monitor).await?;
                CollectReport { is_repacking_left_out: true, ..report }
            }
            report => report?,
        };
        if released || self.shared.store.wants_reserve() {
            self.shared.keep_reserve().await;
        }
        Ok(report)
    }

    async fn collect_patiently(
        &self,
        options: &CollectOptions,
        limits: Limits,
        monitor: &Monitor,
    ) -> Result<CollectReport> {
        let mut overtaken = Error::new(ErrorKind::Overtaken, "others collect all the time");
        for _ in 0..TRIES {
            let state = plan::current(&self.shared).await?;
            if !state.body.garbage.is_empty() {
                sweep::delete_garbage(&self.shared, &state).await?;
                sweep::finish(&self.shared, &state).await?;
            }
            let survey = Survey::make(&self.shared, options).await?;
            let store_now = survey.moment.store;
            match execute::execute(&self.shared, survey, limits, monitor).await {
                Err(error) if error.kind() == ErrorKind::Overtaken => overtaken = error,
                report => {
                    if let (Ok(_), Some(now)) = (&report, store_now) {
                        self.shared.store.sweep_clock(now).await?;
                        self.shared.store.sweep_remains().await?;
                    }
                    return report;
                }
            }
        }
        Err(overtaken)
    }
}

#[cfg(test)]
mod tests;
