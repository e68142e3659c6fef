//! Asking the site that a replica comes from.

use model::JournalId;

use super::PeerClient;
use crate::{
    Result,
    sources::{SourceCommand, SourceState},
};

impl PeerClient {
    /// How the VM of a journal stands where it comes from.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] when nothing is replicated under this journal any more.
    pub async fn source_state(&self, journal: JournalId) -> Result<SourceState> {
        self.get(&format!("/peer/v1/sources/{journal}")).await
    }

    /// Asks for something to be done to it there. It is begun when this returns, and may be asked again.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Conflict`] when the caller lacks something of it, or it is busy.
    pub async fn tell_source(&self, journal: JournalId, command: SourceCommand) -> Result<SourceState> {
        self.post(&format!("/peer/v1/sources/{journal}"), &command).await
    }
}
