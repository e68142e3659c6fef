//! Deleting what no reader of the log needs any more.

use super::{ENTRIES, Log, STATES, Sequence, State};
use crate::Result;

impl Log {
    /// Writes `state` so that readers can start at it, and then deletes the entries before it, in order. The last of them
    /// stays until there is a later one: it proves where the log ends. Returns the first number that is not deleted.
    pub(crate) async fn trim(&self, state: &State) -> Result<Sequence> {
        self.write_state(state).await?;
        // What an interrupted run of a copy, or one that slept, left before that.
        for old in self.list(ENTRIES).await?.into_iter().filter(|old| *old < state.body.trimmed) {
            self.store.delete_named(&old.entry_name()).await?;
        }
        // From where the log is known to be trimmed, not from where a listing begins: none may be left out.
        for number in state.body.trimmed.0.max(1)..state.sequence.0 {
            self.store.delete_named(&Sequence(number).entry_name()).await?;
        }
        for (name, _) in self.store.list_named(STATES).await? {
            if let Some(old) = Sequence::of_name(&name).filter(|old| *old < state.sequence) {
                self.store.delete_named(&old.state_name()).await?;
            }
        }
        Ok(state.sequence)
    }
}
