//! When an entry was written. Clocks jump; what may be deleted for good must be due by more than one of them.

use model::Timestamp;
use serde::{Deserialize, Serialize};

/// A moment, by the clocks that were asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Moment {
    /// By the clock of whoever wrote the entry.
    pub(crate) local: Timestamp,
    /// By the store's clock, where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) store: Option<Timestamp>,
}

impl Moment {
    /// What has passed for certain: by both clocks. None where only one was asked.
    pub(crate) fn certain(&self) -> Option<Timestamp> {
        self.store.map(|store| store.min(self.local))
    }

    /// What has passed by any clock that was asked.
    pub(crate) fn latest(&self) -> Timestamp {
        self.store.map_or(self.local, |store| store.max(self.local))
    }
}
