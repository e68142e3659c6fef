//! Where taps come from.

use std::ffi::OsString;

use async_trait::async_trait;
use tap::TapOptions;

/// What launches taps, or finds those that live.
#[async_trait]
pub trait Taps: Send + Sync {
    /// As [`tap::launch`].
    async fn launch(&self, options: &TapOptions) -> tap::Result<tap::Client>;
}

/// Processes that outlive the server.
pub(crate) struct TapProcesses {
    /// The program, and its hidden subcommand.
    pub(crate) command: Vec<OsString>,
}

#[async_trait]
impl Taps for TapProcesses {
    async fn launch(&self, options: &TapOptions) -> tap::Result<tap::Client> {
        tap::launch(&self.command, options).await
    }
}
