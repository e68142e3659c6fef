//! Reading on in a log that is damaged: what is left of it, and what the store holds besides.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use futures::{StreamExt, stream};

use super::{
    ENTRIES, Log, STATES, Sequence, State,
    entry::{Change, Collection, Entry},
    state::PointState,
};
use crate::{
    Digest, ErrorKind, PointRecord, Result,
    point::{self, POINT_BYTES_MAX},
    store::{ObjectKind, incomplete},
};

/// Points that are read side by side.
const POINTS_AT_ONCE: usize = 16;

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
        let Ok(state) = self.salvage().await else { return Err(error) };
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "the vault is read as far as its log can be");
        }
        Ok(Arc::new(state))
    }

    /// The state, as far as it can be known: the newest state that is sound, the entries after it that are, and where some
    /// are lost, all points and index segments that the store holds besides. Where in doubt, a point is there and not deleted.
    /// Nothing is lost, and so the state is not [`State::is_salvaged`], when only states are damaged that the entries say again.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] when nothing is damaged, but the store does not show all that there is.
    pub(crate) async fn salvage(&self) -> Result<State> {
        let (mut state, mut is_damaged) = self.newest_sound_state().await?;
        let listed: BTreeSet<Sequence> = self.list(ENTRIES).await?.into_iter().collect();
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
            return Err(incomplete("states"));
        }
        if state.is_salvaged {
            self.add_listed(&mut state).await?;
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
                // Beyond a gap it may be anything, with any number.
                if sequence == state.sequence.next() {
                    (state.sequence, state.head) = (sequence, Digest([0; 32]));
                    forget_deletions(state);
                }
                Ok(Some(false))
            }
        }
    }

    /// The newest state that can be read, and whether another cannot.
    async fn newest_sound_state(&self) -> Result<(State, bool)> {
        let (mut unanchored, mut is_damaged) = (None, false);
        for sequence in self.list(STATES).await?.into_iter().rev() {
            match self.read_state(sequence).await? {
                Some(Ok(state)) if self.is_anchored(&state).await? => return Ok((state, is_damaged)),
                Some(Ok(state)) => unanchored = unanchored.or(Some(state)),
                Some(Err(_)) => is_damaged = true,
                None => {}
            }
        }
        if self.store.has_named(&Sequence(1).entry_name()).await? {
            return Ok((State::empty(), is_damaged));
        }
        // Its entry is lost, and with it the proof of where the log ends.
        let state = unanchored.map(|state| State { is_salvaged: true, ..state });
        Ok((state.unwrap_or_else(State::empty), is_damaged))
    }

    /// Adds the points and index segments that are in the store and that the log does not know, nor knows to be garbage.
    async fn add_listed(&self, state: &mut State) -> Result<()> {
        let body = &mut state.body;
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
                    body.points.entry(point.summary.id).or_insert_with(|| point_state(object, &point));
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

fn point_state(object: Digest, point: &PointRecord) -> PointState {
    PointState {
        object,
        vm_id: point.summary.vm_id,
        captured_at: point.summary.captured_at,
        committed_at: point.summary.captured_at,
        roots: point.maps.iter().filter_map(|map| map.root).collect(),
        hold: None,
        deletion: None,
    }
}

/// Takes in an entry that may come after a gap: as much of it as still makes sense.
fn take_in(state: &mut State, entry: Entry, digest: Digest) {
    if state.sequence.next() != entry.sequence || state.head != entry.previous {
        forget_deletions(state);
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

/// What a lost entry may have brought back counts as brought back.
fn forget_deletions(state: &mut State) {
    state.is_salvaged = true;
    state.body.points.values_mut().for_each(|point| point.deletion = None);
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
        whole => vec![whole],
    }
}

#[cfg(test)]
mod tests;
