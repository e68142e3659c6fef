//! Variants that are broken on purpose, to prove that the checker notices.

use std::fmt;

use vault::Flaw;

use crate::store::StoreFlaw;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Broken {
    /// The store replaces an object that somebody else created.
    StoreCreateReplaces,
    /// The store loses what it acknowledged.
    StoreForgets,
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

impl Broken {
    pub(crate) fn of_store(self) -> Option<StoreFlaw> {
        match self {
            Self::StoreCreateReplaces => Some(StoreFlaw::CreateReplaces),
            Self::StoreForgets => Some(StoreFlaw::Forgets),
            _ => None,
        }
    }

    pub(crate) fn of_vault(self) -> Option<Flaw> {
        Some(match self {
            Self::StoreCreateReplaces | Self::StoreForgets => return None,
            Self::CollectDeletesBeforeLogging => Flaw::CollectDeletesBeforeLogging,
            Self::CollectTrustsPointListing => Flaw::CollectTrustsPointListing,
            Self::CollectForgetsNewCommits => Flaw::CollectForgetsNewCommits,
            Self::WriterSkipsOutlive => Flaw::WriterSkipsOutlive,
            Self::OrphansUnasked => Flaw::OrphansUnasked,
            Self::RepackDropsOld => Flaw::RepackDropsOld,
            Self::RepairHidesHurt => Flaw::RepairHidesHurt,
            Self::RepairListsCondemned => Flaw::RepairListsCondemned,
        })
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use clap::ValueEnum;
        let value = self.to_possible_value();
        formatter.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
