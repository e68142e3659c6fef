//! What goes with one entry of the log.

use std::collections::{BTreeMap, BTreeSet};

use model::PointId;

use super::{CollectPlan, Limits, segments::Replacement};
use crate::{Digest, index::Index, log::entry::Collection};

/// What goes with one entry of the log.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) points: BTreeSet<PointId>,
    /// Objects of points that were never committed.
    pub(super) point_objects: BTreeSet<Digest>,
    /// Segments that no entry named.
    pub(super) segments: BTreeSet<Digest>,
    /// Packs that go as they are.
    pub(super) dropped: BTreeSet<Digest>,
    /// Packs whose live chunks are copied first.
    pub(super) repacked: BTreeSet<Digest>,
    /// Segments that list the copies.
    pub(super) copies: Vec<Digest>,
}

impl Batch {
    /// Splits a plan. Packs that share segments go together; all points go first, since they are what makes the rest garbage.
    pub(super) fn of_plan(plan: &CollectPlan, limits: Limits, index: &Index) -> Vec<Self> {
        let mut segments: BTreeMap<Digest, Digest> = BTreeMap::new();
        for (pack, segment) in index.listings() {
            segments.entry(pack).or_insert(segment);
        }
        let dropped = plan.drop.iter().map(|pack| (pack, false));
        let repacked = plan.repack.iter().map(|pack| (pack, true));
        let mut packs: Vec<_> = dropped
            .chain(repacked)
            .chain(plan.orphans.iter().map(|pack| (pack, false)))
            .map(|(pack, copied)| (segments.get(&pack.pack).copied(), copied, pack))
            .collect();
        packs.sort_by_key(|(segment, _, pack)| (*segment, pack.pack));
        let mut batches = vec![Self {
            points: plan.points.iter().copied().collect(),
            point_objects: plan.orphan_points.iter().take(limits.packs).copied().collect(),
            segments: plan.orphan_segments.iter().take(limits.packs).copied().collect(),
            ..Self::default()
        }];
        let (mut last_segment, mut segment_count, mut copied_bytes) = (None, 0, 0);
        for (segment, is_copied, pack) in packs {
            let starts_segment = segment.is_none() || segment != last_segment;
            let live_bytes = if is_copied { pack.size_bytes.0.saturating_sub(pack.dead_bytes.0) } else { 0 };
            let is_full = batches.last().is_none_or(|batch| {
                batch.dropped.len() + batch.repacked.len() >= limits.packs
                    || segment_count >= limits.segments
                    || copied_bytes >= limits.copied_bytes && copied_bytes > 0
            });
            // Never within a segment: it would be rewritten twice.
            if is_full && starts_segment {
                batches.push(Self::default());
                (segment_count, copied_bytes) = (0, 0);
            }
            segment_count += usize::from(starts_segment && segment.is_some());
            copied_bytes += live_bytes;
            last_segment = segment;
            if let Some(batch) = batches.last_mut() {
                if is_copied { &mut batch.repacked } else { &mut batch.dropped }.insert(pack.pack);
            }
        }
        batches
    }

    pub(super) fn packs(&self) -> BTreeSet<Digest> {
        self.dropped.union(&self.repacked).copied().collect()
    }

    /// Leaves these packs where they are.
    pub(super) fn spare(&mut self, packs: &BTreeSet<Digest>) {
        self.dropped.retain(|pack| !packs.contains(pack));
        self.repacked.retain(|pack| !packs.contains(pack));
    }

    /// Whether nothing would go.
    pub(super) fn is_empty(&self) -> bool {
        self.points.is_empty()
            && self.point_objects.is_empty()
            && self.segments.is_empty()
            && self.dropped.is_empty()
            && self.repacked.is_empty()
    }

    pub(super) fn collection(&self, replacement: &Replacement) -> Collection {
        Collection {
            points: self.points.iter().copied().collect(),
            point_objects: self.point_objects.iter().copied().collect(),
            packs: self.packs().into_iter().collect(),
            segments: self.segments.union(&replacement.old).copied().collect(),
            new_segments: self.copies.iter().chain(&replacement.new).copied().collect(),
        }
    }
}
