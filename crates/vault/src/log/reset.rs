//! Going on after damage: a new entry that follows nothing, and the state at which everybody starts from then on.

use std::sync::Arc;

use super::{
    Appended, Log, Sequence, State,
    entry::{Change, Collection, Entry},
};
use crate::{Digest, Result, store::Created};

impl Log {
    /// The state that follows from an earlier one by our entries, to the last; none when our log did not come by there, or
    /// is damaged after it.
    pub(crate) async fn go_on_from(&self, state: &State) -> Result<Option<State>> {
        let is_ours = matches!(
            self.read_entry(state.sequence).await?,
            Some(Ok((_, digest))) if digest == state.head
        );
        if state.is_salvaged || !is_ours {
            return Ok(None);
        }
        let last = self.entry_numbers().await?.last().copied().unwrap_or_default();
        let base = (state.sequence, state.head);
        let mut state = Arc::new(state.clone());
        Ok(match self.replay(&mut state, base).await {
            Ok(true) if last <= state.sequence => Some((*state).clone()),
            Ok(_) => None,
            Err(error) if error.is_damage() => None,
            Err(error) => return Err(error),
        })
    }

    /// Appends a collection to a log that may be damaged, makes the state after it the one that everybody starts at, and
    /// deletes the entries before it, damaged or not. Running writers look whether they still have what they rely on, as after
    /// any collection.
    ///
    /// A salvaged state is not what those know who read the log while it was sound. So its entry follows no other: they cannot
    /// go on from what they know, and start at the new state too.
    ///
    /// Of entries beyond it only those go that were found `damaged` before: any other may be one that somebody is writing.
    pub(crate) async fn reset(
        &self,
        state: &State,
        collection: Collection,
        damaged: &[Sequence],
    ) -> Result<Appended> {
        let change = Change::Collect(collection);
        let next = if state.is_salvaged {
            let (sequence, at) = (state.sequence.next(), self.moment().await?);
            let entry = Entry { sequence, previous: Digest([0; 32]), at, change };
            let bytes = entry.encode(&self.keys, env::random(&*self.env.entropy))?;
            let digest = Digest::of(&bytes);
            let mut next = State { head: entry.previous, is_salvaged: false, ..state.clone() };
            next.apply(&entry, digest)?;
            if self.store.create_named(&entry.sequence.entry_name(), bytes).await? == Created::Exists {
                return Ok(Appended::Overtaken);
            }
            Arc::new(next)
        } else {
            match self.try_append(state, change).await? {
                Appended::Done(next) => next,
                Appended::Overtaken => return Ok(Appended::Overtaken),
            }
        };
        self.trim_all(&next).await?;
        for sequence in damaged.iter().filter(|it| **it > next.sequence) {
            if self.read_entry(*sequence).await?.is_some_and(|found| found.is_err()) {
                self.store.delete_named(&sequence.entry_name()).await?;
            }
        }
        *self.known.lock().await = None;
        Ok(Appended::Done(next))
    }
}
