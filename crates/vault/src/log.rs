//! The vault's log: every change of what a vault is takes the next number in it.
//!
//! # Invariants
//!
//! 1. Entry *n* is created once, by whoever read all entries before it, and never changes. So of two changes one came
//!    first, and the other was made in the knowledge of it.
//! 2. A state is what follows from the entries up to its number. It only saves reading them.
//! 3. Entries are deleted in the order of their numbers, none left out, and then the states before them. So where entry *n*
//!    is still there, no later one has been deleted: if *n* + 1 is missing, it was never written. What is left says everything
//!    twice: it reaches back to the second newest state.
//! 4. Listings are hints: the end of the log is where the next number is missing.
//!
//! docs/decisions/2026-11-22-commit-log.md tells why.

pub(crate) mod entry;
mod inspect;
pub(crate) mod marks;
mod moment;
mod reset;
pub(crate) mod rules;
mod salvage;
mod start;
pub(crate) mod state;
mod trim;

use std::{
    cmp::Ordering,
    sync::{Arc, atomic::AtomicBool},
};

use env::Env;
use futures::{StreamExt, TryStreamExt, stream};
use model::VaultSettings;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

pub(crate) use self::{
    entry::{Change, ENTRY_BYTES_MAX, Entry, NewPoint},
    inspect::LogPart,
    moment::Moment,
    salvage::SALVAGE_HOLD,
    state::{PointState, STATE_BYTES_MAX, State},
};
use crate::{
    Digest, Error, ErrorKind, Result,
    keys::Keys,
    store::{Created, Store},
};

/// Entries that are read side by side where a listing says that there are so many.
const ENTRIES_AT_ONCE: usize = 16;

/// How often the newest state is looked for when it is gone before it is read.
const STATE_TRIES: u32 = 8;

/// How often a state is written, in entries.
const STATE_EVERY: u64 = 512;

/// The number of an entry in a vault's log; the first is 1, and 0 is before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    pub(crate) fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The name of the entry with this number.
    pub(crate) fn entry_name(self) -> String {
        format!("{ENTRIES}/{:016}", self.0)
    }

    /// The name of the state after the entry with this number.
    pub(crate) fn state_name(self) -> String {
        format!("{STATES}/{:016}", self.0)
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        (name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| name.parse().ok().map(Self))
            .flatten()
    }
}

pub(crate) const ENTRIES: &str = "log";
pub(crate) const STATES: &str = "states";

/// What became of an attempt to append.
#[derive(Debug)]
pub(crate) enum Appended {
    /// The entry is in the log, and this is the state after it.
    Done(Arc<State>),
    /// Somebody else had the number first: look again.
    Overtaken,
}

/// The log of one vault. All users of a handle share what was read.
pub(crate) struct Log {
    store: Store,
    keys: Arc<Keys>,
    env: Env,
    known: Mutex<Option<Arc<State>>>,
    /// Somebody was told that the log is damaged.
    warned: AtomicBool,
    /// A state is written after every so many entries.
    pub(crate) state_every: u64,
}

impl Log {
    pub(crate) fn new(store: Store, keys: Arc<Keys>, env: Env) -> Self {
        Self {
            store,
            keys,
            env,
            known: Mutex::new(None),
            warned: AtomicBool::new(false),
            state_every: STATE_EVERY,
        }
    }

    /// Starts the log of a new vault.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] when there is a log.
    pub(crate) async fn create(&self) -> Result<()> {
        let first = Change::Settings(VaultSettings::default());
        match self.try_append(&State::empty(), first).await? {
            Appended::Done(_) => Ok(()),
            Appended::Overtaken => {
                let context = format!("there are the remains of a vault in {}", self.store.place());
                Err(Error::new(ErrorKind::AlreadyExists, context).with_guidance("choose an empty place"))
            }
        }
    }

    /// The state at this moment: no change is missing that was complete when this was called.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when an entry or state is damaged.
    pub(crate) async fn refresh(&self) -> Result<Arc<State>> {
        let mut known = self.known.lock().await;
        self.catch_up(&mut known).await
    }

    /// The state at this moment, or the one before the first entry where there is no log yet.
    pub(crate) async fn refresh_or_empty(&self) -> Result<Arc<State>> {
        let start::Start { state, ahead } = self.newest_state().await?;
        let is_empty = state.sequence == Sequence(0)
            && ahead.is_none()
            && !self.store.has_named(&Sequence(1).entry_name()).await?;
        if is_empty { Ok(Arc::new(State::empty())) } else { self.refresh().await }
    }

    /// Whether an entry with this number, or a later one, was there when the log was last read.
    pub(crate) async fn has_reached(&self, sequence: Sequence) -> bool {
        self.known.lock().await.as_ref().is_none_or(|known| known.sequence >= sequence)
    }

    /// Makes sure that `state` follows from an `earlier` one. Cannot tell any more where the log is trimmed in between: that
    /// was a collection's, after which everybody looks again at what they rely on.
    ///
    /// # Errors
    /// [`ErrorKind::Overtaken`] when the store was put back to an earlier time since.
    pub(crate) async fn check_follows(&self, state: &State, earlier: &State) -> Result<()> {
        let follows = match state.sequence.cmp(&earlier.sequence) {
            Ordering::Less => false,
            Ordering::Equal => state.head == earlier.head,
            Ordering::Greater => match self.read_entry(earlier.sequence).await? {
                Some(Ok((_, digest))) => digest == earlier.head,
                Some(Err(_)) | None => true,
            },
        };
        if follows || state.is_salvaged || earlier.is_salvaged { Ok(()) } else { Err(self.put_back()) }
    }

    /// This moment by the clocks of this host and of the store.
    pub(crate) async fn moment(&self) -> Result<Moment> {
        let store = Some(self.store.now().await?);
        Ok(Moment { local: self.env.clock.now(), store })
    }

    /// Appends a change that follows from `state`, with the time of this host's clock alone: nothing is deleted on its word.
    ///
    /// # Errors
    /// As [`Log::try_append_at`].
    pub(crate) async fn try_append(&self, state: &State, change: Change) -> Result<Appended> {
        self.try_append_at(state, change, Moment { local: self.env.clock.now(), store: None }).await
    }

    /// Appends a change that follows from `state`.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the rules do not allow the change. [`ErrorKind::Overtaken`] when this process slept for so
    /// long that it cannot be told whether the change took effect.
    pub(crate) async fn try_append_at(&self, state: &State, change: Change, at: Moment) -> Result<Appended> {
        if state.is_salvaged {
            return Err(self.damaged(Error::corrupt("some of its entries are lost")));
        }
        let mut known = self.known.lock().await;
        let entry = Entry { sequence: state.sequence.next(), previous: state.head, at, change };
        let bytes = entry.encode(&self.keys, env::random(&*self.env.entropy))?;
        let digest = Digest::of(&bytes);
        let mut next = state.clone();
        next.apply(&entry, digest)?;
        if self.store.create_named(&entry.sequence.entry_name(), bytes).await? == Created::Exists {
            return Ok(Appended::Overtaken);
        }
        if !self.still_has(state.sequence, state.head).await? {
            Box::pin(self.confirm(&mut known, entry.sequence, digest)).await?;
        }
        let next = Arc::new(next);
        if known.as_ref().is_none_or(|known| known.sequence < entry.sequence) {
            *known = Some(Arc::clone(&next));
        }
        if entry.sequence.0.is_multiple_of(self.state_every) {
            self.try_write_state(&next).await;
        }
        Ok(Appended::Done(next))
    }

    /// Appends a change that does not depend on anything but the rules.
    pub(crate) async fn append(&self, change: Change) -> Result<Arc<State>> {
        let at = self.moment().await?;
        loop {
            let state = self.refresh().await?;
            if let Appended::Done(state) = self.try_append_at(&state, change.clone(), at).await? {
                return Ok(state);
            }
        }
    }

    /// Writes a state, so that nobody needs the entries before it.
    pub(crate) async fn write_state(&self, state: &State) -> Result<()> {
        let bytes = state.encode(&self.keys, env::random(&*self.env.entropy))?;
        let name = state.sequence.state_name();
        // Whoever wrote it first wrote the same; but it may have been damaged since, or be of a log that went another way,
        // and entries are deleted on its word.
        if self.store.create_named(&name, bytes.clone()).await? == Created::New
            || self
                .read_state(state.sequence)
                .await?
                .is_some_and(|found| found.is_ok_and(|found| found.head == state.head))
        {
            return Ok(());
        }
        self.store.put_named(&name, bytes).await
    }

    async fn try_write_state(&self, state: &State) {
        if let Err(error) = self.write_state(state).await {
            tracing::warn!(%error, "a state of the vault's log is not written; the next one will be");
        }
    }

    async fn catch_up(&self, known: &mut Option<Arc<State>>) -> Result<Arc<State>> {
        if let Some(mut state) = known.take() {
            let base = (state.sequence, state.head);
            match self.replay(&mut state, base).await {
                Ok(true) => return Ok(Arc::clone(known.insert(state))),
                Ok(false) => {}
                // What does not follow from the entry that was read before may follow from another with its number.
                Err(error)
                    if error.kind() == ErrorKind::Corrupt && !self.still_has(base.0, base.1).await? => {}
                Err(error) => return Err(error),
            }
        }
        // Boxed: it is rare, and would make every future that appends large.
        let state = Box::pin(self.start()).await?;
        Ok(Arc::clone(known.insert(state)))
    }

    /// Reads entries until one is missing. Returns whether that is the log's end: as long as the entry that everything is
    /// `base`d on is there, none after it was deleted, nor written anew by somebody who slept through a trim.
    async fn replay(&self, state: &mut Arc<State>, base: (Sequence, Digest)) -> Result<bool> {
        loop {
            let sequence = state.sequence.next();
            let Some(bytes) = self.store.get_named(&sequence.entry_name(), ENTRY_BYTES_MAX).await? else {
                return self.still_has(base.0, base.1).await;
            };
            self.take_in(state, sequence, &bytes)?;
        }
    }

    /// Whether an entry is the one that was read before. Before the first there is none, and it must be there itself.
    async fn still_has(&self, sequence: Sequence, digest: Digest) -> Result<bool> {
        if sequence == Sequence(0) {
            return self.store.has_named(&sequence.next().entry_name()).await;
        }
        let found = self.store.get_named(&sequence.entry_name(), ENTRY_BYTES_MAX).await?;
        Ok(found.is_some_and(|bytes| Digest::of(&bytes) == digest))
    }

    fn take_in(&self, state: &mut Arc<State>, sequence: Sequence, bytes: &[u8]) -> Result<()> {
        let entry = Entry::decode(sequence, bytes, &self.keys).map_err(|error| self.damaged(error))?;
        let applied = Arc::make_mut(state).apply(&entry, Digest::of(bytes));
        applied.map_err(|error| {
            let context = format!("entry {} of the vault's log breaks the rules", sequence.0);
            self.damaged(Error::corrupt(context).with_source(error))
        })
    }

    /// The numbers that a listing shows, in order.
    async fn list(&self, folder: &str) -> Result<Vec<Sequence>> {
        let names = self.store.list_named(folder).await?;
        Ok(names.iter().filter_map(|(name, _)| Sequence::of_name(name)).collect())
    }

    /// The state with this number, or why it cannot be used; none where there is none.
    pub(crate) async fn read_state(&self, sequence: Sequence) -> Result<Option<Result<State>>> {
        self.read(&sequence.state_name(), STATE_BYTES_MAX, |bytes| State::decode(sequence, bytes, &self.keys))
            .await
    }

    /// The entry with this number and its digest, or why it cannot be used; none where there is none.
    pub(crate) async fn read_entry(&self, sequence: Sequence) -> Result<Option<Result<(Entry, Digest)>>> {
        self.read(&sequence.entry_name(), ENTRY_BYTES_MAX, |bytes| {
            Ok((Entry::decode(sequence, bytes, &self.keys)?, Digest::of(bytes)))
        })
        .await
    }

    async fn read<T>(
        &self,
        name: &str,
        limit_bytes: u64,
        decode: impl FnOnce(&[u8]) -> Result<T>,
    ) -> Result<Option<Result<T>>> {
        match self.store.get_named(name, limit_bytes).await {
            Ok(bytes) => Ok(bytes.map(|bytes| decode(&bytes))),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(Some(Err(error))),
            Err(error) => Err(error),
        }
    }

    /// Reads many entries side by side, as far as a listing says that they are there. Returns the last that it names.
    async fn read_ahead(&self, state: &mut Arc<State>) -> Result<Sequence> {
        let last = self.list(ENTRIES).await?.last().copied().unwrap_or_default();
        let read = |number| async move {
            let name = Sequence(number).entry_name();
            Ok::<_, Error>((number, self.store.get_named(&name, ENTRY_BYTES_MAX).await?))
        };
        let mut entries =
            stream::iter(state.sequence.0 + 1..=last.0).map(read).buffered(ENTRIES_AT_ONCE).boxed();
        while let Some((number, Some(bytes))) = entries.try_next().await? {
            self.take_in(state, Sequence(number), &bytes)?;
        }
        Ok(last)
    }

    /// Whether the log that is read anew has our entry at its number.
    ///
    /// # Errors
    /// [`ErrorKind::Overtaken`] when that number has been deleted by now, and so nobody can tell from the log.
    async fn confirm(
        &self,
        known: &mut Option<Arc<State>>,
        sequence: Sequence,
        digest: Digest,
    ) -> Result<()> {
        *known = None;
        let mut state = self.newest_state().await?.state;
        if (state.sequence, state.head) == (sequence, digest) {
            // Somebody has built on it already, and made it the first of the log.
            return Ok(());
        }
        if state.sequence >= sequence {
            if self
                .read_entry(sequence.next())
                .await?
                .is_some_and(|it| it.is_ok_and(|(it, _)| it.previous == digest))
            {
                return Ok(());
            }
            // So old that it was deleted, or should be: no reader comes by here any more.
            self.store.delete_named(&sequence.entry_name()).await?;
            return Err(slept());
        }
        let base = (state.sequence, state.head);
        let is_end = match self.replay(&mut state, base).await {
            Err(error) if error.kind() == ErrorKind::Corrupt && state.sequence.next() == sequence => true,
            replayed => replayed?,
        };
        // A listing that is late gives a state that nobody can go on from: it proves nothing.
        if !is_end {
            return Err(slept());
        }
        let is_there = self.still_has(sequence, digest).await?;
        if is_there && state.sequence < sequence {
            // It follows an entry that is not there any more: nobody must come by it.
            self.store.delete_named(&sequence.entry_name()).await?;
            return Err(self.put_back());
        }
        if is_there { Ok(()) } else { Err(slept()) }
    }

    fn put_back(&self) -> Error {
        let place = self.store.place();
        Error::new(
            ErrorKind::Overtaken,
            format!("the vault in {place} was put back to an earlier time meanwhile"),
        )
        .with_guidance("run the same again: it starts from what the vault is now")
    }

    fn damaged(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::Corrupt => {
                Error::corrupt(format!("the log of the vault in {} is damaged: {error}", self.store.place()))
                    .with_guidance(
                        "heal it with: holdfast vault repair; recovery points can be restored meanwhile",
                    )
                    .with_source(error)
            }
            _ => error,
        }
    }
}

fn slept() -> Error {
    Error::new(ErrorKind::Overtaken, "the vault moved on while this process stood still")
        .with_guidance("run the same again")
}

#[cfg(test)]
mod tests;
