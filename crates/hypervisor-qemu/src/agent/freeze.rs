//! Freezing and thawing the guest's file systems. The agent never thaws by itself: see [`crate::guard`].

use std::time::Duration;

use serde_json::json;

use super::{Agent, Error, ErrorKind, Result};

/// What the agent says of the guest's file systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FreezeState {
    Thawed,
    Frozen,
}

impl Agent {
    /// Runs the guest's freeze hooks and freezes its file systems; on Windows takes a shadow copy of its volumes.
    /// Returns how many file systems were frozen.
    pub(crate) async fn freeze(&mut self, timeout: Duration) -> Result<u64> {
        let count = self.execute("guest-fsfreeze-freeze", json!({}), timeout).await?;
        count
            .as_u64()
            .ok_or_else(|| Error::new(ErrorKind::Protocol, "guest-fsfreeze-freeze: no number came back"))
    }

    /// Thaws what is frozen and returns how many file systems that were; does nothing where nothing is.
    pub(crate) async fn thaw(&mut self, timeout: Duration) -> Result<u64> {
        let count = self.execute("guest-fsfreeze-thaw", json!({}), timeout).await?;
        count
            .as_u64()
            .ok_or_else(|| Error::new(ErrorKind::Protocol, "guest-fsfreeze-thaw: no number came back"))
    }

    /// Whether the file systems are frozen.
    pub(crate) async fn freeze_state(&mut self, timeout: Duration) -> Result<FreezeState> {
        let state = self.execute("guest-fsfreeze-status", json!({}), timeout).await?;
        Ok(if state == "frozen" { FreezeState::Frozen } else { FreezeState::Thawed })
    }
}
