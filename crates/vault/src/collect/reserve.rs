//! Room in the store that is kept free for the day on which it is full: a log entry, new index segments and a state must
//! fit before anything can be deleted.

use crate::{ErrorKind, Result, vault::Shared};

/// The name of the object that takes the room.
pub(crate) const RESERVE: &str = "reserve";

/// Bytes of the reserve: some index segments of 65,536 chunks, each of 3 MiB, and the state of some 10,000 points.
const RESERVE_BYTES: usize = 32 << 20;

impl Shared {
    /// Makes the reserve where there is none. That there is no room for it is no error.
    pub(crate) async fn keep_reserve(&self) {
        if let Err(error) = self.try_keep_reserve().await {
            tracing::warn!(%error, place = self.store.place(), "no room is kept for deleting when the store is full");
        }
    }

    /// Gives the reserve's room back. Returns whether there was one.
    pub(crate) async fn release_reserve(&self) -> Result<bool> {
        let is_there = self.store.has_named(RESERVE).await?;
        if is_there {
            self.store.delete_named(RESERVE).await?;
        }
        Ok(is_there)
    }

    async fn try_keep_reserve(&self) -> Result<()> {
        if self.store.has_named(RESERVE).await? {
            return Ok(());
        }
        // Random: a file system that compresses would keep no room for anything else.
        let mut bytes = vec![0; RESERVE_BYTES];
        self.env.entropy.fill(&mut bytes);
        let mut kept = self.store.put_named(RESERVE, bytes.clone()).await;
        if matches!(&kept, Err(error) if error.kind() == ErrorKind::NoSpace) {
            bytes.truncate(RESERVE_BYTES / 2);
            kept = self.store.put_named(RESERVE, bytes).await;
        }
        kept
    }
}
