//! The next step of a copy: one entry, or a leap.

use std::{collections::BTreeSet, sync::Arc};

use super::Copy;
use crate::{
    Digest, Error, Result, Sequence,
    log::{Change, ENTRY_BYTES_MAX, Entry, State, marks, state::Garbage},
    store::{Created, ObjectKind},
};

impl Copy<'_> {
    /// Takes one step from `state` towards `goal`. Returns the state of the copy after it; none when objects are gone from the
    /// vault that a collection may have taken, so that the goal is to be set anew.
    pub(super) async fn advance(
        &mut self,
        state: &Arc<State>,
        goal: &Arc<State>,
    ) -> Result<Option<Arc<State>>> {
        let name = state.sequence.next().entry_name();
        let next = self.source.store.get_named(&name, ENTRY_BYTES_MAX).await?;
        let decoded =
            next.as_ref().map(|bytes| Entry::decode(state.sequence.next(), bytes, &self.source.keys));
        // Also past an entry that is damaged: what came of it is known.
        let (Some(next), Some(Ok(entry)), true) = (next, decoded, goal.body.collected <= state.sequence)
        else {
            return self.leap(state, goal).await;
        };
        let mut after = (**state).clone();
        after.apply(&entry, Digest::of(&next)).map_err(|error| {
            let sequence = state.sequence.next().0;
            Error::corrupt(format!("entry {sequence} of the vault's log does not fit its copy"))
                .with_source(error)
        })?;
        let lost = self.send_difference(state, &after).await?;
        if lost > 0 && self.is_overtaken(goal).await? {
            return Ok(None);
        }
        self.report.damaged += lost;
        if let Change::Swept { through, .. } = &entry.change {
            let garbage = state.body.garbage.range(..=through).map(|(_, garbage)| garbage);
            self.delete(&self.unneeded(garbage, &after).await?).await?;
            self.trim(state).await?;
        }
        self.create_entry(entry.sequence, next.to_vec()).await?;
        self.count(state, &after);
        Ok(Some(Arc::new(after)))
    }

    /// Goes to `goal` at once.
    async fn leap(&mut self, state: &Arc<State>, goal: &Arc<State>) -> Result<Option<Arc<State>>> {
        let name = goal.sequence.entry_name();
        let Some(entry) = self.source.store.get_named(&name, ENTRY_BYTES_MAX).await? else { return Ok(None) };
        if Digest::of(&entry) != goal.head {
            return Err(Error::corrupt("the last entry of the vault's log is damaged")
                .with_guidance("heal the vault first: holdfast vault repair"));
        }
        let lost = self.send_difference(state, goal).await?;
        if lost > 0 && self.is_overtaken(goal).await? {
            return Ok(None);
        }
        self.report.damaged += lost;
        let mut after = (**goal).clone();
        let left_behind = self.left_behind(state, goal).await?;
        let garbage = after.body.garbage.entry(after.body.collected).or_default();
        garbage.points.extend(&left_behind.points);
        garbage.segments.extend(&left_behind.segments);
        garbage.packs.extend(&left_behind.packs);
        if *garbage == Garbage::default() {
            after.body.garbage.remove(&goal.body.collected);
        }
        // The mark tells that the state waits for its entry, and has not lost it.
        marks::mark(&self.target, goal.sequence, goal.head).await?;
        self.log.write_state(&after).await?;
        self.create_entry(goal.sequence, entry.to_vec()).await?;
        self.delete(&left_behind).await?;
        // Between what the copy had and the leap's end it has no entries.
        self.log.trim_all(&after).await?;
        marks::sweep(&self.target, after.sequence).await?;
        self.count(state, &after);
        Ok(Some(Arc::new(after)))
    }

    /// Sends what `after` needs and `before` did not: packs and segments, then points.
    async fn send_difference(&mut self, before: &State, after: &State) -> Result<u64> {
        let segments: Vec<Digest> = after.body.segments.difference(&before.body.segments).copied().collect();
        let lost = self.send_segments(&segments).await?;
        let points: Vec<Digest> = objects(after).difference(&objects(before)).copied().collect();
        Ok(lost + self.send_points(&points).await?)
    }

    /// What the copy has and no longer needs after a leap. It is garbage of the last collection, so that whoever sweeps that
    /// deletes it, whatever happens to this run.
    async fn left_behind(&self, before: &State, after: &State) -> Result<Garbage> {
        let gone: BTreeSet<Digest> = before.body.segments.difference(&after.body.segments).copied().collect();
        let mut left = Garbage {
            points: objects(before).into_iter().collect(),
            packs: Vec::new(),
            segments: gone.into_iter().collect(),
        };
        for segment in &left.segments {
            left.packs.extend(self.packs_of(segment).await?.into_iter().flatten());
        }
        // An earlier leap may have died before it deleted.
        self.unneeded(before.body.garbage.values().chain([&left]), after).await
    }

    /// What of some garbage a state does not need.
    async fn unneeded<'g>(
        &self,
        garbage: impl Iterator<Item = &'g Garbage> + Clone,
        state: &State,
    ) -> Result<Garbage> {
        let all =
            |kind| garbage.clone().flat_map(move |it| it.of_kind(kind)).copied().collect::<BTreeSet<_>>();
        let mut packs = all(ObjectKind::Pack);
        for segment in &state.body.segments {
            if packs.is_empty() {
                break;
            }
            match self.packs_of(segment).await? {
                Some(needed) => packs.retain(|pack| !needed.contains(pack)),
                // Nobody knows what it listed: it is damaged, or another copier has gone on while this one slept.
                None => packs.clear(),
            }
        }
        Ok(Garbage {
            points: all(ObjectKind::Point).difference(&objects(state)).copied().collect(),
            segments: all(ObjectKind::IndexSegment).difference(&state.body.segments).copied().collect(),
            packs: packs.into_iter().collect(),
        })
    }

    async fn is_overtaken(&self, goal: &State) -> Result<bool> {
        Ok(self.source.log.refresh().await?.body.collected > goal.body.collected)
    }

    async fn trim(&self, state: &State) -> Result<()> {
        let trimmed = self.log.trim(state).await?;
        marks::sweep(&self.target, trimmed).await
    }

    async fn create_entry(&self, sequence: Sequence, bytes: Vec<u8>) -> Result<()> {
        marks::mark(&self.target, sequence, Digest::of(&bytes)).await?;
        match self.target.create_named(&sequence.entry_name(), bytes).await? {
            Created::New => Ok(()),
            Created::Exists => Err(self.diverged(sequence)),
        }
    }

    fn count(&mut self, before: &State, after: &State) {
        self.report.entries += after.sequence.0.saturating_sub(before.sequence.0);
        let new = after.body.points.keys().filter(|id| !before.body.points.contains_key(id));
        self.report.points += new.count() as u64;
    }
}

fn objects(state: &State) -> BTreeSet<Digest> {
    state.body.points.values().map(|point| point.object).collect()
}
