//! Reading a vault back and checking every byte, or some of them.

mod metadata;
mod packs;
mod points;
mod scope;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use image::ByteRange;
use model::{DiskName, PointId, Timestamp, VmName};

use crate::{ChunkId, Digest, Monitor, Result, Sequence, Vault, store::ObjectKind};
pub(crate) use metadata::config_damage;
pub(crate) use points::check as check_points;
pub use scope::{VerifyOptions, VerifyScope};

/// Findings that are listed one by one; the rest is only counted.
const LISTED_MAX: usize = 10_000;

/// What was found damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// The vault's config is missing or not what it was. Who has the vault open still has it.
    Config {
        /// What is wrong.
        reason: String,
    },
    /// A key slot cannot be used.
    KeySlot {
        /// The slot.
        slot: Digest,
        /// What is wrong.
        reason: String,
    },
    /// An entry of the vault's log cannot be read, is missing, or does not follow the one before it.
    LogEntry {
        /// Its number.
        sequence: Sequence,
        /// What is wrong.
        reason: String,
    },
    /// A state of the vault's log cannot be read.
    State {
        /// The number of the entry that it follows.
        sequence: Sequence,
        /// What is wrong.
        reason: String,
    },
    /// A pack that the index names is not in the store.
    MissingPack {
        /// The pack.
        pack: Digest,
    },
    /// A pack's bytes are not those that its name says. Those of its chunks that are lost follow one by one.
    Pack {
        /// The pack.
        pack: Digest,
        /// What is wrong.
        reason: String,
    },
    /// A chunk cannot be had from its pack.
    Chunk {
        /// The pack.
        pack: Digest,
        /// The chunk.
        chunk: ChunkId,
    },
    /// An index segment cannot be read.
    IndexSegment {
        /// The segment.
        segment: Digest,
        /// What is wrong.
        reason: String,
    },
    /// A recovery point cannot be read.
    Point {
        /// The point's object.
        object: Digest,
        /// What is wrong.
        reason: String,
    },
}

/// What of a disk is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskHealth {
    /// The disk.
    pub name: DiskName,
    /// The lost ranges of the disk, at most 10,000 of them and 100,000 in one report; holes among them may not be told from
    /// data.
    pub lost: Vec<ByteRange>,
    /// Bytes that are lost.
    pub lost_bytes: u64,
}

/// Whether a recovery point can be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointHealth {
    /// The point.
    pub id: PointId,
    /// The VM's name.
    pub vm_name: VmName,
    /// The moment that it shows.
    pub captured_at: Timestamp,
    /// The disks that have lost something; empty when the point is intact.
    pub hurt: Vec<DiskHealth>,
}

impl PointHealth {
    /// Whether every byte of every disk can be restored.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.hurt.is_empty()
    }
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Packs that were read.
    pub packs: u64,
    /// Packs among them whose frames this handle cannot open, for it can only write: their bytes are those that were
    /// written, and nothing else is known of the data in them.
    pub digest_only_packs: u64,
    /// Chunks that were checked.
    pub chunks: u64,
    /// Bytes that were read from packs.
    pub checked_bytes: u64,
    /// What is damaged, at most 10,000 findings.
    pub damage: Vec<Damage>,
    /// How many findings there are in all.
    pub damage_count: u64,
    /// Every point that can be read, oldest first, also those that are deleted and can be brought back.
    pub points: Vec<PointHealth>,
    /// The packs that were read and are sound, and when that was; for [`VerifyScope::NotCheckedSince`] later.
    pub sound_packs: BTreeMap<Digest, Timestamp>,
}

impl VerifyReport {
    /// Whether nothing at all is damaged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damage_count == 0 && self.points.iter().all(PointHealth::is_intact)
    }

    fn add(&mut self, damage: Damage) {
        self.damage_count += 1;
        if self.damage.len() < LISTED_MAX {
            self.damage.push(damage);
        }
    }
}

impl Vault {
    /// Reads every pack and checks it: its name, its seals, every chunk in it. Then walks every disk of every point and
    /// says what of it is lost. Changes nothing in the store; the next writer of this handle stores again what is lost.
    /// A handle that can only write checks packs of data by their digests, and counts all that is in a damaged one as lost.
    /// Progress counts bytes of packs.
    ///
    /// # Errors
    /// Whatever keeps the store from being read; damage is no error, it is in the report.
    pub async fn verify(&self, monitor: &Monitor) -> Result<VerifyReport> {
        self.verify_with(&VerifyOptions::default(), monitor).await
    }

    /// As [`Vault::verify`], but of the packs of data only those in the scope are read; of others it is only seen that they
    /// are there. Everything else is always checked: config, key slots, log, index, points, and the packs of disk maps.
    ///
    /// # Errors
    /// As [`Vault::verify`].
    pub async fn verify_with(&self, options: &VerifyOptions, monitor: &Monitor) -> Result<VerifyReport> {
        monitor.unless_cancelled(self.verify_all(options, monitor)).await
    }

    async fn verify_all(&self, options: &VerifyOptions, monitor: &Monitor) -> Result<VerifyReport> {
        let mut report = VerifyReport::default();
        // Read from the store, all of it: what this handle has seen before proves nothing about what is there now.
        let fresh = Self { shared: Arc::new(self.shared.afresh()) };
        metadata::check(&fresh.shared, &mut report).await?;
        // Points first: what a writer commits from now on is not in the list, so its packs need not be either.
        let state = fresh.shared.log.refresh_to_read().await?;
        let mut objects: BTreeSet<Digest> = state.body.points.values().map(|point| point.object).collect();
        if state.is_salvaged {
            let garbage: BTreeSet<_> =
                state.body.garbage.values().flat_map(|garbage| &garbage.points).collect();
            let listed = fresh.shared.store.list(ObjectKind::Point).await?.into_iter();
            objects.extend(listed.map(|(object, _)| object).filter(|object| !garbage.contains(object)));
        }
        let points = fresh.shared.read_points(objects.into_iter().collect()).await?;
        for (object, error) in points.unreadable {
            report.add(Damage::Point { object, reason: error.to_string() });
        }
        let mut unreadable = HashSet::new();
        for (segment, error) in fresh.shared.refresh_to_read().await?.unreadable {
            unreadable.insert(segment);
            report.add(Damage::IndexSegment { segment, reason: error.to_string() });
        }
        let suspect = packs::check(&fresh.shared, &options.scope, &mut report, monitor).await?;
        fresh.shared.index.mark_damaged(&suspect, &unreadable);
        // This handle may never have read the index, and then there would be nothing to mark.
        self.shared.refresh_to_read().await?;
        self.shared.index.mark_damaged(&suspect, &unreadable);
        report.points = points::check(&fresh.shared, &points.points, &suspect).await?;
        if !report.points.iter().all(PointHealth::is_intact) {
            // What was collected meanwhile is not hurt.
            let state = fresh.shared.log.refresh_to_read().await?;
            report.points.retain(|point| point.is_intact() || state.body.points.contains_key(&point.id));
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests;
