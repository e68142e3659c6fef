//! Where reading starts: the newest state whose entry is there. Listings are hints; what they leave out is asked for by name.

use std::{collections::BTreeSet, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};

use super::{ENTRIES, ENTRIES_AT_ONCE, Log, STATE_TRIES, STATES, Sequence, State, marks};
use crate::{Error, ErrorKind, Result};

/// What is there of the entry that a state follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    /// The entry, or what is left of it.
    Held,
    /// Nothing: it is lost, or was trimmed together with the state.
    Lost,
    /// Nothing that counts: the log went another way since, or a copier is about to write the entry.
    Unset,
}

/// The newest state at which reading can start, and one that is newer, but has lost its entry.
pub(super) struct Start {
    pub(super) state: Arc<State>,
    pub(super) ahead: Option<Sequence>,
}

impl Log {
    /// Reads the log from its newest state on.
    pub(super) async fn start(&self) -> Result<Arc<State>> {
        // Another may trim the log between the list of states and the reading.
        for _ in 0..STATE_TRIES {
            let Start { mut state, ahead } = self.newest_state().await?;
            let base = (state.sequence, state.head);
            let last = self.read_ahead(&mut state).await?;
            if !self.replay(&mut state, base).await? {
                continue;
            }
            // None after the base was ever deleted: what is missing is lost. A later one proves it, damaged or not: whoever
            // wrote it had read all before it.
            let is_followed = last > state.sequence && self.store.has_named(&last.entry_name()).await?;
            if is_followed || ahead.is_some_and(|ahead| ahead > state.sequence) {
                let context = format!("entry {} is missing", state.sequence.next().0);
                return Err(self.damaged(Error::corrupt(context)));
            }
            return Ok(state);
        }
        // The first entry that is there has a state, or is the very first.
        if self.entry_numbers().await?.is_empty() && self.newest_state().await?.ahead.is_none() {
            return Err(self.nothing_to_start_at().await);
        }
        Err(self.damaged(Error::corrupt("the state or the entry at which it starts is missing")))
    }

    /// Says what it means that neither a state nor an entry is there.
    pub(super) async fn nothing_to_start_at(&self) -> Error {
        let place = self.store.place();
        match self.store.read_config().await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let context =
                    format!("the vault in {place} is gone: neither its config nor its log is there");
                Error::new(ErrorKind::NotFound, context).with_guidance(
                    "mount its disk or share if it is not mounted; if the vault is lost, restore from a copy of it",
                )
            }
            _ => Error::new(
                ErrorKind::Unreachable,
                format!("the store shows no log of the vault in {place}"),
            )
            .with_guidance(
                "try again; if it stays so, the log is lost: heal it from a copy with: holdfast vault repair",
            ),
        }
    }

    pub(super) async fn newest_state(&self) -> Result<Start> {
        let start = self.newest_of(self.list(STATES).await?).await?;
        if start.state.sequence > Sequence(0) || self.store.has_named(&Sequence(1).entry_name()).await? {
            return Ok(start);
        }
        self.newest_of(self.states_at(self.entry_numbers().await?).await?).await
    }

    async fn newest_of(&self, states: Vec<Sequence>) -> Result<Start> {
        let mut ahead = None;
        for sequence in states.into_iter().rev() {
            let Some(state) = self.read_state(sequence).await? else { continue };
            let state = state.map_err(|error| self.damaged(error))?;
            match self.anchor(&state).await? {
                Anchor::Held => return Ok(Start { state: Arc::new(state), ahead }),
                Anchor::Lost => ahead = ahead.or(Some(sequence)),
                Anchor::Unset => {}
            }
        }
        Ok(Start { state: Arc::new(State::empty()), ahead })
    }

    /// Whether the entry that a state follows is there. A copy that takes a leap has the mark and the state first, and nobody
    /// starts at it before the entry is there too.
    pub(super) async fn anchor(&self, state: &State) -> Result<Anchor> {
        Ok(match self.read_entry(state.sequence).await? {
            Some(Ok((_, digest))) if digest != state.head => Anchor::Unset,
            Some(_) => Anchor::Held,
            None if marks::is_marked(&self.store, state.sequence, state.head).await? => Anchor::Unset,
            None => Anchor::Lost,
        })
    }

    /// All states that can be found, in order: those that a listing shows, and those at entries that can be found.
    pub(super) async fn state_numbers(&self, entries: BTreeSet<Sequence>) -> Result<BTreeSet<Sequence>> {
        let mut found: BTreeSet<Sequence> = self.list(STATES).await?.into_iter().collect();
        let unlisted = entries.difference(&found).copied().collect();
        found.extend(self.states_at(unlisted).await?);
        Ok(found)
    }

    /// The states at any of these numbers, in order.
    async fn states_at(&self, numbers: BTreeSet<Sequence>) -> Result<Vec<Sequence>> {
        let look = |sequence: Sequence| async move {
            let is_there = self.store.has_named(&sequence.state_name()).await?;
            Ok::<_, Error>(is_there.then_some(sequence))
        };
        let found: Vec<Option<Sequence>> =
            stream::iter(numbers).map(look).buffered(ENTRIES_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The entries that can be found: those that a listing shows, and those next to them that it leaves out.
    pub(super) async fn entry_numbers(&self) -> Result<BTreeSet<Sequence>> {
        let listed: BTreeSet<Sequence> = self.list(ENTRIES).await?.into_iter().collect();
        let mut found = listed.clone();
        for sequence in listed {
            for step in [Sequence::before, Sequence::next] {
                let mut beside = step(sequence);
                while beside > Sequence(0)
                    && !found.contains(&beside)
                    && self.store.has_named(&beside.entry_name()).await?
                {
                    found.insert(beside);
                    beside = step(beside);
                }
            }
        }
        Ok(found)
    }
}
