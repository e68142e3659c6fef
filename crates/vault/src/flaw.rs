//! Mistakes that a vault can be told to make, so that a simulation can show that it would find them. Without the feature
//! `flaws` there are none.

use crate::vault::Shared;

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// A collection deletes its objects before the log says so.
    CollectDeletesBeforeLogging,
    /// A collection takes points for gone whose objects the store does not list.
    CollectTrustsPointListing,
    /// A collection that a commit has overtaken does not look at what the new point needs.
    CollectForgetsNewCommits,
    /// A writer commits without looking at what was collected since its start.
    WriterSkipsOutlive,
    /// A collection takes packs that no segment lists however young they are, and writers do not ask for theirs.
    OrphansUnasked,
    /// The packs that were repacked are deleted before the log names the new ones.
    RepackDropsOld,
    /// A repair does not say which points are not whole.
    RepairHidesHurt,
    /// A repair that makes the index anew lists packs in it that a collection has given up.
    RepairListsCondemned,
}

impl Shared {
    #[cfg(feature = "flaws")]
    pub(crate) fn has_flaw(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    #[cfg(not(feature = "flaws"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) const fn has_flaw(&self, _: Flaw) -> bool {
        false
    }
}

#[cfg(feature = "flaws")]
impl crate::Vault {
    /// The same vault by a handle that makes one mistake, and of which nothing is known yet.
    #[must_use]
    pub fn with_flaw(&self, flaw: Flaw) -> Self {
        let mut shared = self.shared.afresh();
        shared.flaw = Some(flaw);
        Self { shared: std::sync::Arc::new(shared) }
    }
}
