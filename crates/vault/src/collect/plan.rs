//! What a collection would do, and why it leaves the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use model::{ByteCount, PointId, Timestamp};

use super::{CollectOptions, mark::Marker, marks::Usage};
use crate::{
    Digest, Error, Result,
    flaw::Flaw,
    log::{Moment, State, rules},
    store::ObjectKind,
    vault::Shared,
};

/// What a collection would do. Plain data: whoever reads it has changed nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectPlan {
    /// Deleted points whose time is over.
    pub points: Vec<PointId>,
    /// Packs of which nothing is needed.
    pub drop: Vec<PackUse>,
    /// Packs of which the needed rest would be copied into new packs.
    pub repack: Vec<PackUse>,
    /// Packs that writers left behind before they listed them.
    pub orphans: Vec<PackUse>,
    /// Index segments that were never named in the log.
    pub orphan_segments: Vec<Digest>,
    /// Objects of points that were never committed.
    pub orphan_points: Vec<Digest>,
    /// Packs that stay as they are, though a part of them is not needed: how many, and bytes not needed.
    pub partly_dead: PackTotals,
    /// Packs that may belong to a writer at work, by the time until which they are left alone.
    pub young: Vec<YoungPacks>,
    /// Objects that an earlier collection gave up and did not come to delete.
    pub unfinished: u64,
    /// Bytes of the store that would be given back, the new packs subtracted. An estimate.
    pub freed_bytes: ByteCount,
}

/// A pack that would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackUse {
    /// The pack.
    pub pack: Digest,
    /// Its bytes in the store; none where it is not there.
    pub size_bytes: ByteCount,
    /// How many of them nothing needs. An estimate.
    pub dead_bytes: ByteCount,
}

/// Packs, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackTotals {
    /// How many.
    pub count: u64,
    /// Bytes of the store.
    pub bytes: ByteCount,
}

/// Packs that are left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct YoungPacks {
    /// Until when, by the store's clock.
    pub until: Timestamp,
    /// Which.
    pub packs: PackTotals,
}

impl CollectPlan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
            && self.drop.is_empty()
            && self.repack.is_empty()
            && self.orphans.is_empty()
            && self.orphan_segments.is_empty()
            && self.orphan_points.is_empty()
            && self.unfinished == 0
    }
}

/// A plan, and what it was made of.
pub(super) struct Survey {
    pub(super) state: Arc<State>,
    pub(super) moment: Moment,
    pub(super) marker: Marker,
    pub(super) plan: CollectPlan,
    /// Needed bytes in each pack that is to be repacked.
    pub(super) live_bytes: BTreeMap<Digest, u64>,
}

impl Survey {
    /// Looks at everything.
    pub(super) async fn make(shared: &Arc<Shared>, options: &CollectOptions) -> Result<Self> {
        let moment = shared.log.moment().await?;
        let state = current(shared).await?;
        let points = purgeable(&state, &moment);
        let mut marker = Marker::new(Arc::clone(shared), options.ignore_damaged.clone()).await?;
        let unlisted = if shared.has_flaw(Flaw::CollectTrustsPointListing) {
            unlisted(shared, &state).await?
        } else {
            BTreeSet::new()
        };
        marker.mark(&state, &points.union(&unlisted).copied().collect()).await?;
        let grace = Grace::new(&moment, options);
        let mut plan = CollectPlan { points: points.into_iter().collect(), ..CollectPlan::default() };
        plan.unfinished = state.body.garbage.values().map(|garbage| garbage.len() as u64).sum();
        let usage = marker.marks.usage().await?;
        let stored = shared.store.list_dated(ObjectKind::Pack).await?;
        let mut young = Young::default();
        plan.classify(shared, options, &state, &usage, &stored, &grace, &mut young);
        plan.find_orphans(shared, &state, &stored, &grace, &mut young).await?;
        plan.young = young.into_iter().map(|(until, packs)| YoungPacks { until, packs }).collect();
        let dead = plan.drop.iter().chain(&plan.repack).chain(&plan.orphans).map(|pack| pack.dead_bytes);
        plan.freed_bytes = dead.sum();
        let repacked = plan.repack.iter().filter_map(|pack| usage.get_key_value(&pack.pack));
        let live_bytes = repacked.map(|(pack, usage)| (*pack, usage.live_bytes)).collect();
        Ok(Self { state, moment, marker, plan, live_bytes })
    }
}

type Young = BTreeMap<Timestamp, PackTotals>;

/// How long what may belong to a writer at work is left alone.
struct Grace {
    now: Timestamp,
    microseconds: i64,
    /// By the store's clock alone, for what the store dates.
    store_now: Timestamp,
}

impl Grace {
    fn new(moment: &Moment, options: &CollectOptions) -> Self {
        const HOUR_MICROSECONDS: i64 = 3_600_000_000;
        let store_now = moment.store.unwrap_or_default();
        let now = moment.certain().unwrap_or_default();
        Self { now, microseconds: i64::from(options.grace_hours) * HOUR_MICROSECONDS, store_now }
    }

    /// Until when something is left alone; none once that is over.
    fn until(&self, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let age = now.microseconds_since(since);
        // What is further in the future than the grace was dated by a clock that ran ahead; waiting for it helps nobody.
        (age.saturating_abs() < self.microseconds)
            .then(|| Timestamp::from_microseconds(since.as_microseconds().saturating_add(self.microseconds)))
    }
}

impl CollectPlan {
    #[expect(clippy::too_many_arguments, reason = "all that a pack is judged by")]
    fn classify(
        &mut self,
        shared: &Shared,
        options: &CollectOptions,
        state: &State,
        usage: &BTreeMap<Digest, Usage>,
        stored: &[(Digest, u64, Timestamp)],
        grace: &Grace,
        young: &mut Young,
    ) {
        let stored: BTreeMap<Digest, u64> = stored.iter().map(|(pack, size, _)| (*pack, *size)).collect();
        let mut until: BTreeMap<Digest, Timestamp> = BTreeMap::new();
        for (pack, segment) in shared.index.listings() {
            let since = state.body.loose.get(&segment);
            if let Some(end) = since.and_then(|since| grace.until(*since, grace.now)) {
                until.entry(pack).and_modify(|known| *known = end.max(*known)).or_insert(end);
            }
        }
        for (pack, usage) in usage {
            let size_bytes = stored.get(pack).copied();
            if let Some(until) = until.get(pack) {
                young.entry(*until).or_default().add(size_bytes.unwrap_or_default());
                continue;
            }
            let dead = usage.total_bytes - usage.live_bytes;
            let share = |bytes: u64, part: u64| {
                (u128::from(bytes) * u128::from(part) / u128::from(usage.total_bytes.max(1))) as u64
            };
            let dead_bytes = if usage.live_bytes == 0 {
                size_bytes.unwrap_or_default()
            } else {
                share(size_bytes.unwrap_or_default(), dead)
            };
            let of_pack = PackUse {
                pack: *pack,
                size_bytes: ByteCount(size_bytes.unwrap_or_default()),
                dead_bytes: ByteCount(dead_bytes),
            };
            // Who may only write cannot copy what is needed.
            let is_sparse = share(100, dead) >= options.repack_dead_percent.into()
                && shared.keys.check_can_read().is_ok();
            match (usage.live_bytes, dead) {
                (0, _) => self.drop.push(of_pack),
                (_, 0) => {}
                // What is not there cannot be copied.
                _ if is_sparse && size_bytes.is_some() => self.repack.push(of_pack),
                _ => self.partly_dead.add(dead_bytes),
            }
        }
    }

    async fn find_orphans(
        &mut self,
        shared: &Shared,
        state: &State,
        stored: &[(Digest, u64, Timestamp)],
        grace: &Grace,
        young: &mut Young,
    ) -> Result<()> {
        let unasked = shared.has_flaw(Flaw::OrphansUnasked);
        let is_given_up = |kind: ObjectKind, object: &Digest| {
            state.body.garbage.values().any(|garbage| garbage.of_kind(kind).contains(object))
        };
        let indexed: BTreeSet<Digest> = shared.index.packs().iter().map(|pack| pack.digest).collect();
        for (pack, size_bytes, written_at) in stored {
            if indexed.contains(pack) || is_given_up(ObjectKind::Pack, pack) {
                continue;
            }
            match grace.until(*written_at, grace.store_now) {
                Some(until) if !unasked => young.entry(until).or_default().add(*size_bytes),
                _ => {
                    let size_bytes = ByteCount(*size_bytes);
                    self.orphans.push(PackUse { pack: *pack, size_bytes, dead_bytes: size_bytes });
                }
            }
        }
        let objects: BTreeSet<Digest> = state.body.points.values().map(|point| point.object).collect();
        for (kind, known, orphans) in [
            (ObjectKind::IndexSegment, &state.body.segments, &mut self.orphan_segments),
            (ObjectKind::Point, &objects, &mut self.orphan_points),
        ] {
            for (object, _, written_at) in shared.store.list_dated(kind).await? {
                if !known.contains(&object)
                    && !is_given_up(kind, &object)
                    && grace.until(written_at, grace.store_now).is_none()
                {
                    orphans.push(object);
                }
            }
        }
        Ok(())
    }
}

impl PackTotals {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes = self.bytes + ByteCount(bytes);
    }
}

/// The points whose objects a listing leaves out.
async fn unlisted(shared: &Shared, state: &State) -> Result<BTreeSet<PointId>> {
    let listed = shared.store.list(ObjectKind::Point).await?;
    let listed: BTreeSet<Digest> = listed.into_iter().map(|(object, _)| object).collect();
    let points = state.body.points.iter();
    Ok(points.filter(|(_, point)| !listed.contains(&point.object)).map(|(id, _)| *id).collect())
}

/// The points that may be purged.
pub(super) fn purgeable(state: &State, moment: &Moment) -> BTreeSet<PointId> {
    let points = state.body.points.iter();
    let due = points.filter(|(_, point)| rules::may_purge(point, moment.certain()).is_ok());
    due.map(|(id, _)| *id).collect()
}

/// The vault at this moment, all of its index at hand.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] when a segment cannot be read: what only it lists would look like garbage.
pub(super) async fn current(shared: &Shared) -> Result<Arc<State>> {
    loop {
        let mut fresh = shared.refresh().await?;
        let missing = {
            let index = &shared.index;
            fresh.state.body.segments.iter().find(|segment| !index.holds_segment(segment)).copied()
        };
        let Some(segment) = missing else { return Ok(fresh.state) };
        // Where it is not known to be unreadable, another user of the index has gone on to a later state.
        if let Some(place) = fresh.unreadable.iter().position(|(digest, _)| *digest == segment) {
            let (_, source) = fresh.unreadable.swap_remove(place);
            let context = format!("index segment {segment} cannot be read, so nothing is collected");
            let error = Error::corrupt(context).with_source(source);
            return Err(error.with_guidance("heal the vault with: holdfast vault repair"));
        }
    }
}
