//! Deleting what no reader of the log needs any more.

use super::{Log, STATES, Sequence, State, start::Anchor};
use crate::Result;

impl Log {
    /// Writes `state` so that readers can start at it, and then deletes the entries before the state that was the newest until
    /// now: what one lost object says, others say again. Returns the first number that is not deleted.
    pub(crate) async fn trim(&self, state: &State) -> Result<Sequence> {
        self.write_state(state).await?;
        let kept = self.newest_before(state.sequence).await?;
        self.delete_before(kept, state).await?;
        Ok(kept)
    }

    /// As [`Log::trim`], but deletes everything before `state`: what comes before it is damaged, or another log's.
    pub(crate) async fn trim_all(&self, state: &State) -> Result<()> {
        self.write_state(state).await?;
        self.delete_before(state.sequence, state).await
    }

    /// The newest state before a number at which reading can start; the very first entry where there is none.
    async fn newest_before(&self, sequence: Sequence) -> Result<Sequence> {
        for earlier in self.list(STATES).await?.into_iter().rev().filter(|earlier| *earlier < sequence) {
            if let Some(Ok(state)) = self.read_state(earlier).await?
                && self.anchor(&state).await? == Anchor::Held
            {
                return Ok(earlier);
            }
        }
        Ok(Sequence(1))
    }

    /// Deletes the entries before a number, in order, and then the states. The entry with that number stays: it proves where
    /// the log ends.
    async fn delete_before(&self, kept: Sequence, state: &State) -> Result<()> {
        // From where the log is known to be trimmed, not from where a listing begins: none may be left out. What is found
        // before that is a copy's, which trims later, or was left by one that slept.
        let mut gone = self.entry_numbers().await?;
        gone.split_off(&kept);
        gone.extend((state.body.trimmed.0.max(1)..kept.0).map(Sequence));
        for old in gone {
            self.store.delete_named(&old.entry_name()).await?;
        }
        for old in self.list(STATES).await?.into_iter().filter(|old| *old < kept) {
            self.store.delete_named(&old.state_name()).await?;
        }
        Ok(())
    }
}
