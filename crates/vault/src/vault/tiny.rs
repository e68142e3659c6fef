//! Vaults in which little is much: a simulation sees in a few blocks what takes terabytes otherwise.

use std::sync::Arc;

use env::Env;

use super::Vault;
use crate::{NewSlot, Result, StoreLocation, config::Config};

impl Vault {
    /// Creates a vault of tiny chunks, frames and packs.
    ///
    /// # Errors
    /// As [`Vault::create`].
    #[doc(hidden)]
    pub async fn create_tiny(location: &StoreLocation, slots: &[NewSlot], env: Env) -> Result<Self> {
        Self::create_with(location, slots, env, Config::tiny).await
    }

    /// Lists packs after so many chunks, and writes states after so many entries of the log; for a handle that has no clones
    /// yet, and nothing for others.
    #[doc(hidden)]
    #[must_use]
    pub fn with_pace(mut self, segment_chunks: usize, state_every: u64) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.segment_chunks = segment_chunks;
            shared.log.state_every = state_every.max(1);
        }
        self
    }
}
