//! Which objects an immutable vault needs, and until when.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use model::{PointId, Timestamp};

use super::retentions::{Name, Retentions};
use crate::{
    Digest, Result,
    collect::Marker,
    log::{State, rules},
    store::ObjectKind,
    vault::Shared,
};

/// Until when objects are needed. What is in none of these is not.
#[derive(Debug, Default)]
pub(super) struct Needs {
    packs: BTreeMap<Digest, Timestamp>,
    segments: BTreeMap<Digest, Timestamp>,
    points: BTreeMap<Digest, Timestamp>,
    /// Until when what all points need is needed: config, key slots, the log; none without points.
    pub(super) vault_until: Option<Timestamp>,
}

impl Needs {
    /// Looks at all points, those first that are needed for the longest: what one of them marks is needed as long as it is.
    /// Damage is no reason to stop: what can be retained is.
    pub(super) async fn survey(shared: &Arc<Shared>, state: &State, now: Timestamp) -> Result<Self> {
        let mut needs = Self::of_points(state, now);
        let all: BTreeSet<PointId> = state.body.points.keys().copied().collect();
        let mut by_end: BTreeMap<Timestamp, BTreeSet<PointId>> = BTreeMap::new();
        for (id, point) in &state.body.points {
            by_end.entry(kept_until(state, point, now)).or_default().insert(*id);
        }
        let mut marker = Marker::new(Arc::clone(shared), all.clone()).await?;
        let mut later = all;
        for (until, points) in by_end.into_iter().rev() {
            later.retain(|point| !points.contains(point));
            marker.mark(state, &later).await?;
            for pack in marker.take_packs() {
                needs.packs.entry(pack).or_insert(until);
            }
        }
        needs.add_segments(shared, state);
        Ok(needs)
    }

    /// Without reading any map: what earlier runs retained, as long as they did, and what was committed since the survey, for as
    /// long as a point that is committed now.
    pub(super) fn of_new(shared: &Shared, state: &State, now: Timestamp, known: &Retentions) -> Self {
        let mut needs = Self::of_points(state, now);
        for (name, until) in known.needed() {
            match name {
                Name::Object(ObjectKind::Pack, pack) => needs.packs.insert(*pack, until),
                Name::Object(ObjectKind::IndexSegment, segment) => needs.segments.insert(*segment, until),
                _ => None,
            };
        }
        let Some(until) = needs.vault_until else { return needs };
        let is_new = |segment: &Digest| {
            // Of writers at work nobody knows yet whether they commit.
            state.body.segments.contains(segment)
                && !state.body.loose.contains_key(segment)
                && !known.segments.contains(segment)
        };
        for (pack, segment) in shared.index.listings().into_iter().filter(|(_, segment)| is_new(segment)) {
            needs.packs.entry(pack).or_insert(until);
            needs.segments.entry(segment).or_insert(until);
        }
        needs
    }

    pub(super) fn of_kind(&self, kind: ObjectKind) -> &BTreeMap<Digest, Timestamp> {
        const NONE: &BTreeMap<Digest, Timestamp> = &BTreeMap::new();
        match kind {
            ObjectKind::Pack => &self.packs,
            ObjectKind::IndexSegment => &self.segments,
            ObjectKind::Point => &self.points,
            ObjectKind::KeySlot => NONE,
        }
    }

    fn of_points(state: &State, now: Timestamp) -> Self {
        let points = state.body.points.values();
        let points: BTreeMap<_, _> = points.map(|it| (it.object, kept_until(state, it, now))).collect();
        let vault_until = points.values().max().copied();
        Self { points, vault_until, ..Self::default() }
    }

    /// A segment is needed as long as any pack that it lists.
    fn add_segments(&mut self, shared: &Shared, state: &State) {
        for (pack, segment) in shared.index.listings() {
            let Some(until) = self.packs.get(&pack).filter(|_| state.body.segments.contains(&segment)) else {
                continue;
            };
            let need = self.segments.entry(segment).or_insert(*until);
            *need = (*need).max(*until);
        }
    }
}

/// The end of the day on which a point may be gone at the earliest: points of one day are looked at together.
fn kept_until(state: &State, point: &crate::log::PointState, now: Timestamp) -> Timestamp {
    const DAY_US: i64 = 86_400_000_000;
    let until = rules::kept_until(point, &state.body.settings, now).as_microseconds();
    Timestamp::from_microseconds(until.saturating_add(DAY_US - 1).div_euclid(DAY_US).saturating_mul(DAY_US))
}
