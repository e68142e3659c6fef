//! Garbage collection while everything goes on.

use vault::{CollectOptions, Monitor};

use super::server::Work;

impl Work<'_> {
    /// Collects, with little patience.
    pub(super) async fn collect(&self) {
        let options = CollectOptions {
            grace_hours: *self.dice.pick(&[0, 0, 1, 6]).unwrap_or(&0),
            repack_dead_percent: *self.dice.pick(&[1, 30, 60, 101]).unwrap_or(&30),
            ..CollectOptions::default()
        };
        match self.vault.collect(&options, &Monitor::default()).await {
            Ok(report) => self.note(format!("collected: {report:?}")),
            Err(error) => self.note(format!("collection failed: {error}")),
        }
    }
}
