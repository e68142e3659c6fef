//! Carries a plan out: in batches, each of which takes one number of the log, and only then deletes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use model::{ByteCount, PointId};

use super::{
    CollectReport, Limits,
    batch::Batch,
    mark::Marker,
    plan::{Survey, current, purgeable},
    segments::{Replacement, listing},
    sweep,
};
use crate::{
    Digest, Error, ErrorKind, Monitor, Result,
    flaw::Flaw,
    log::{Appended, Change, Moment, State},
    store::ObjectKind,
    vault::Shared,
    writer::Repacker,
};

/// A collection at work.
pub(super) struct Execution<'a> {
    shared: &'a Arc<Shared>,
    state: Arc<State>,
    moment: Moment,
    marker: Marker,
    /// Needed bytes in each pack that is to be repacked.
    live_bytes: BTreeMap<Digest, u64>,
    /// What each pack that may go takes in the store.
    sizes: BTreeMap<Digest, ByteCount>,
    /// Packs that others have come to need since the survey.
    needed: BTreeSet<Digest>,
    report: CollectReport,
}

/// Carries out what a survey planned.
pub(super) async fn execute(
    shared: &Arc<Shared>,
    survey: Survey,
    limits: Limits,
    monitor: &Monitor,
) -> Result<CollectReport> {
    let Survey { state, moment, mut marker, plan, live_bytes } = survey;
    marker.marks.take_touched();
    let packs = plan.drop.iter().chain(&plan.repack).chain(&plan.orphans);
    let sizes: BTreeMap<Digest, ByteCount> = packs.map(|pack| (pack.pack, pack.size_bytes)).collect();
    monitor.begin(sizes.values().copied().sum::<ByteCount>().0)?;
    let batches = Batch::of_plan(&plan, limits, &shared.index);
    let report = CollectReport::default();
    let mut execution =
        Execution { shared, state, moment, marker, live_bytes, sizes, needed: BTreeSet::new(), report };
    for batch in batches {
        let bytes: ByteCount =
            batch.packs().iter().filter_map(|pack| execution.sizes.get(pack)).copied().sum();
        execution.carry_out(batch).await?;
        monitor.advance(bytes.0)?;
    }
    sweep::finish(shared, &execution.state).await?;
    Ok(execution.report)
}

impl Execution<'_> {
    async fn carry_out(&mut self, mut batch: Batch) -> Result<()> {
        batch.spare(&self.needed);
        self.check_copies(&mut batch).await?;
        self.repack(&mut batch).await?;
        let mut replacement = Replacement::default();
        loop {
            if batch.is_empty() {
                return Ok(());
            }
            self.replace_segments(&batch, &mut replacement).await?;
            let collection = batch.collection(&replacement);
            if self.shared.has_flaw(Flaw::CollectDeletesBeforeLogging) {
                self.delete(ObjectKind::Pack, &batch.packs()).await?;
            }
            if self.shared.has_flaw(Flaw::RepackDropsOld) {
                self.delete(ObjectKind::Pack, &batch.repacked).await?;
            }
            let change = Change::Collect(collection);
            match self.shared.log.try_append_at(&self.state, change, self.moment).await? {
                Appended::Done(state) => {
                    self.state = state;
                    break;
                }
                Appended::Overtaken => self.catch_up(&mut batch).await?,
            }
        }
        // What the entry names is gone from the index before any of it is gone from the store.
        self.shared.follow(&self.state).await?;
        sweep::delete_garbage(self.shared, &self.state).await?;
        self.count(&batch);
        Ok(())
    }

    async fn delete(&self, kind: ObjectKind, objects: &BTreeSet<Digest>) -> Result<()> {
        for object in objects {
            self.shared.store.delete(kind, object).await?;
        }
        Ok(())
    }

    /// Before a copy of a needed chunk goes, the one that is kept is read. Where it is damaged, another one is kept.
    async fn check_copies(&mut self, batch: &mut Batch) -> Result<()> {
        let copied = self.marker.marks.copied_in(batch.packs()).await?;
        for id in copied {
            let Some((kind, keeper)) = self.marker.marks.keeper(&id)? else { continue };
            match self.shared.read_chunk(kind, id, None).await {
                Ok(_) => {}
                Err(error) if error.is_damage() => {
                    tracing::warn!(%error, "no copy of the chunk can be read");
                    batch.spare(&[keeper].into());
                    continue;
                }
                Err(error) => return Err(error),
            }
            // Reading marks what is damaged, and finds the chunk elsewhere.
            self.marker.marks.mark(&id)?;
            if let Some((_, chosen)) = self.marker.marks.keeper(&id)?.filter(|(_, chosen)| *chosen != keeper)
            {
                batch.spare(&[chosen, keeper].into());
            }
        }
        Ok(())
    }

    /// Copies the live chunks of the packs that are to be repacked. A pack stays where one of them cannot be read.
    async fn repack(&mut self, batch: &mut Batch) -> Result<()> {
        if batch.repacked.is_empty() {
            return Ok(());
        }
        let kept = self.marker.marks.kept_in(batch.repacked.clone()).await?;
        let mut found: BTreeMap<Digest, u64> = BTreeMap::new();
        for chunk in &kept {
            *found.entry(chunk.pack).or_default() += u64::from(chunk.length_bytes);
        }
        // Marks are lost where an earlier batch wrote a pack's segment anew: such a pack waits for the next collection.
        batch.repacked.retain(|pack| {
            let live_bytes = self.live_bytes.get(pack).copied().unwrap_or(u64::MAX);
            found.get(pack).is_some_and(|found_bytes| *found_bytes >= live_bytes)
        });
        let kept: Vec<_> = kept.into_iter().filter(|chunk| batch.repacked.contains(&chunk.pack)).collect();
        let chunks = kept.iter().map(|chunk| (chunk.kind, chunk.id)).collect();
        let repacked = Repacker::new(Arc::clone(self.shared)).copy(chunks).await?;
        let lost: BTreeSet<_> = repacked.lost.into_iter().collect();
        batch.spare(&kept.iter().filter(|chunk| lost.contains(&chunk.id)).map(|chunk| chunk.pack).collect());
        self.report.rewritten_bytes = self.report.rewritten_bytes + ByteCount(repacked.stored_bytes);
        batch.copies = repacked.segments;
        Ok(())
    }

    /// Writes the segments that come in the place of those that list the batch's packs, unless they are written already.
    async fn replace_segments(&self, batch: &Batch, written: &mut Replacement) -> Result<()> {
        let packs = batch.packs();
        let mut old = listing(self.shared, &packs);
        old.retain(|segment| self.state.body.segments.contains(segment));
        if old != written.old || packs != written.without {
            *written = match Replacement::write(self.shared, old, packs).await {
                // Another collection may have replaced it, too.
                Err(error) if error.kind() == ErrorKind::NotFound && self.is_overtaken().await? => {
                    return Err(overtaken().with_source(error));
                }
                replacement => replacement?,
            };
        }
        Ok(())
    }

    /// Whether there was another collection.
    async fn is_overtaken(&self) -> Result<bool> {
        Ok(self.shared.log.refresh().await?.body.collected > self.state.body.collected)
    }

    /// Takes in what others did meanwhile: what they need now stays.
    async fn catch_up(&mut self, batch: &mut Batch) -> Result<()> {
        if self.shared.has_flaw(Flaw::CollectForgetsNewCommits) {
            self.state = self.shared.refresh().await?.state;
            return Ok(());
        }
        let state = current(self.shared).await?;
        self.shared.log.check_follows(&state, &self.state).await?;
        if state.body.collected > self.state.body.collected {
            return Err(overtaken());
        }
        let due = purgeable(&state, &self.moment);
        batch.points.retain(|point| due.contains(point));
        // Points of later batches are not due either way: all points go with the first.
        let purged: BTreeSet<PointId> = batch.points.clone();
        self.marker.mark(&state, &purged).await?;
        self.needed.append(&mut self.marker.marks.take_touched());
        let known = &self.state.body.segments;
        let listings = self.shared.index.listings();
        let newly_listed = listings.into_iter().filter(|(_, segment)| !known.contains(segment));
        self.needed.extend(newly_listed.map(|(pack, _)| pack));
        batch.spare(&self.needed);
        batch.segments.retain(|segment| !state.body.segments.contains(segment));
        let objects: BTreeSet<Digest> = state.body.points.values().map(|point| point.object).collect();
        batch.point_objects.retain(|object| !objects.contains(object));
        self.state = state;
        Ok(())
    }

    fn count(&mut self, batch: &Batch) {
        let report = &mut self.report;
        report.points += batch.points.len() as u64;
        report.dropped_packs += batch.dropped.len() as u64;
        report.repacked_packs += batch.repacked.len() as u64;
        let deleted = batch.packs().into_iter().filter_map(|pack| self.sizes.get(&pack)).copied();
        report.deleted_bytes = report.deleted_bytes + deleted.sum();
    }
}

fn overtaken() -> Error {
    Error::new(ErrorKind::Overtaken, "somebody else collected this vault's garbage meanwhile")
        .with_guidance("run the same again")
}
