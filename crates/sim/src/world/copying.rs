//! A copy of the vault in another store, which fails as the first does.

use vault::Monitor;

use super::server::Work;

impl Work<'_> {
    /// Brings the copy up to date.
    pub(super) async fn copy(&self) {
        let copied = self.vault.copy_to(&self.world.copy_location(self.process), &Monitor::default()).await;
        self.note(match copied {
            Ok(report) => format!("copied: {report:?}"),
            Err(error) => format!("copying failed: {error}"),
        });
    }
}
