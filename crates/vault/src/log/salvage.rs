//! Reading on in a log that is damaged: what is left of it, and what the store holds besides.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use futures::{StreamExt, stream};

use model::Timestamp;

use super::{
    Log, Sequence, State,
    entry::{Change, Collection, Entry},
    rules,
    start::Anchor,
    state::PointState,
};
use crate::{
    Digest, ErrorKind, PointRecord, Result,
    point::{self, POINT_BYTES_MAX},
    store::ObjectKind,
};

/// Points that are read side by side.
const POINTS_AT_ONCE: usize = 16;

/// Why nobody may delete a point of which not all is known: it may have been under a hold.
pub(crate) const SALVAGE_HOLD: &str = "salvaged by repair";

impl Log {
    /// The state at this moment, for whoever only reads: where the log is damaged, what can be known of it.
    ///
    /// # Errors
    /// Whatever keeps the store from being read.
    pub(crate) async fn refresh_to_read(&self) -> Result<Arc<State>> {
        let error = match self.refresh().await {
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unreachable) => error,
            refreshed => return refreshed,
        };
        let Ok(state) = self.salvage(self.env.clock.now()).await else { return Err(error) };
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "the vault is read as far as its log can be");
        }
        Ok(Arc::new(state))
    }

    /// The state, as far as it can be known: the newest state that is sound, the entries after it that are, and where some
    /// are lost, all points and index segments that the store holds besides. Where in doubt, a point is there, not deleted,
    /// and under a hold; one whose commit is lost counts as committed `now`, by the clock that is furthest ahead; and the
    /// strictest settings hold. Nothing is lost, and so the state is not [`State::is_salvaged`], when only states are damaged
    /// that the entries say again.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] when nothing is damaged, but the store does not show all that there is;
    /// [`ErrorKind::NotFound`] when the vault is gone.
    pub(crate) async fn salvage(&self, now: Timestamp) -> Result<State> {
        let listed = self.entry_numbers().await?;
        let (mut state, mut is_damaged) = self.newest_sound_state(listed.clone()).await?;
        for sequence in listed.range(state.sequence.next()..) {
            is_damaged |= !self.salvage_entry(&mut state, *sequence).await?.unwrap_or(true);
        }
        // As in a sound log, the end is where the next number is missing.
        loop {
            let next = state.sequence.next();
            let Some(is_sound) = self.salvage_entry(&mut state, next).await? else { break };
            is_damaged |= !is_sound;
        }
        if state.sequence == Sequence(0) && !is_damaged {
            return Err(self.nothing_to_start_at().await);
        }
        if state.is_salvaged {
            self.add_listed(&mut state, now).await?;
        }
        Ok(state)
    }

    /// Takes an entry in as far as it can be read. Returns whether it can; none where there is none.
    async fn salvage_entry(&self, state: &mut State, sequence: Sequence) -> Result<Option<bool>> {
        match self.read_entry(sequence).await? {
            None => Ok(None),
            Some(Ok((entry, digest))) => {
                take_in(state, entry, digest);
                Ok(Some(true))
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "an entry of the log is passed over");
                doubt(state);
                // Beyond a gap it may be anything, with any number.
                if sequence == state.sequence.next() {
                    (state.sequence, state.head) = (sequence, Digest([0; 32]));
                }
                Ok(Some(false))
            }
        }
    }

    /// The newest state that can be read, and whether another cannot.
    async fn newest_sound_state(&self, entries: BTreeSet<Sequence>) -> Result<(State, bool)> {
        let mut is_damaged = false;
        for sequence in self.state_numbers(entries).await?.into_iter().rev() {
            match self.read_state(sequence).await? {
                Some(Ok(state)) => match self.anchor(&state).await? {
                    Anchor::Held => return Ok((state, is_damaged)),
                    // All that it says is sure, but its entry proved where the log ends.
                    Anchor::Lost => return Ok((State { is_salvaged: true, ..state }, true)),
                    Anchor::Unset => {}
                },
                Some(Err(_)) => is_damaged = true,
                None => {}
            }
        }
        Ok((State::empty(), is_damaged))
    }

    /// Adds the points and index segments that are in the store and that the log does not know, nor knows to be garbage.
    async fn add_listed(&self, state: &mut State, now: Timestamp) -> Result<()> {
        let body = &mut state.body;
        let now = now.max(body.at);
        let garbage: BTreeSet<Digest> = body
            .garbage
            .values()
            .flat_map(|garbage| garbage.points.iter().chain(&garbage.segments))
            .copied()
            .collect();
        let segments = self.store.list(ObjectKind::IndexSegment).await?;
        body.segments.extend(segments.iter().map(|(digest, _)| *digest).filter(|it| !garbage.contains(it)));
        let known: BTreeSet<Digest> = body.points.values().map(|point| point.object).collect();
        let points = self.store.list(ObjectKind::Point).await?;
        let unknown = points
            .iter()
            .map(|(digest, _)| *digest)
            .filter(|digest| !known.contains(digest) && !garbage.contains(digest))
            .collect::<BTreeSet<_>>();
        let read = |object| async move { (object, self.read_point(&object).await) };
        let mut points = stream::iter(unknown).map(read).buffered(POINTS_AT_ONCE);
        while let Some((object, point)) = points.next().await {
            match point {
                Ok(point) => {
                    body.points.entry(point.summary.id).or_insert_with(|| point_state(object, &point, now));
                }
                Err(error) if error.is_damage() => {
                    tracing::warn!(%object, %error, "a recovery point that the log does not know cannot be read");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn read_point(&self, object: &Digest) -> Result<PointRecord> {
        let bytes = self.store.get(ObjectKind::Point, object, POINT_BYTES_MAX).await?;
        point::decode(&bytes, &self.keys)
    }
}

fn point_state(object: Digest, point: &PointRecord, now: Timestamp) -> PointState {
    PointState {
        object,
        vm_id: point.summary.vm_id,
        captured_at: point.summary.captured_at,
        // Not earlier than it was: no retention becomes shorter.
        committed_at: now.max(point.summary.captured_at),
        roots: point.maps.iter().filter_map(|map| map.root).collect(),
        hold: Some(SALVAGE_HOLD.to_owned()),
        deletion: None,
    }
}

/// Takes in an entry that may come after a gap: as much of it as still makes sense.
fn take_in(state: &mut State, entry: Entry, digest: Digest) {
    if state.sequence.next() != entry.sequence || state.head != entry.previous {
        doubt(state);
    }
    let (sequence, previous, at) = (entry.sequence, entry.previous, entry.at);
    for change in parts(state, entry.change) {
        (state.sequence, state.head) = (Sequence(sequence.0.saturating_sub(1)), previous);
        let part = Entry { sequence, previous, at, change };
        if let Err(error) = state.apply(&part, digest) {
            tracing::debug!(%error, "a part of an entry is passed over");
            state.is_salvaged = true;
        }
    }
    (state.sequence, state.head) = (sequence, digest);
}

/// What a lost entry may have brought back counts as brought back, and what it may have put under a hold as held.
fn doubt(state: &mut State) {
    state.is_salvaged = true;
    for point in state.body.points.values_mut() {
        point.deletion = None;
        point.hold.get_or_insert_with(|| SALVAGE_HOLD.to_owned());
    }
}

/// A change in parts that the rules can refuse one by one, where an entry before it may be lost.
fn parts(state: &mut State, change: Change) -> Vec<Change> {
    if !state.is_salvaged {
        return vec![change];
    }
    match change {
        Change::Delete { points } => {
            points.into_iter().map(|point| Change::Delete { points: vec![point] }).collect()
        }
        Change::Undelete { points } => {
            points.into_iter().map(|point| Change::Undelete { points: vec![point] }).collect()
        }
        Change::Hold { points, reason } => {
            let hold = |point| Change::Hold { points: vec![point], reason: reason.clone() };
            points.into_iter().map(hold).collect()
        }
        Change::Release { points } => {
            points.into_iter().map(|point| Change::Release { points: vec![point] }).collect()
        }
        Change::Collect(collection) => {
            // They were deleted in time, whether we know it or not.
            collection.points.iter().for_each(|id| drop(state.body.points.remove(id)));
            vec![Change::Collect(Collection { points: Vec::new(), ..collection })]
        }
        Change::Settings(settings) => {
            vec![Change::Settings(rules::strictest(&state.body.settings, &settings))]
        }
        whole => vec![whole],
    }
}

#[cfg(test)]
mod tests;
