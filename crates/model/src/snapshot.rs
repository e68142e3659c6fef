//! Managed snapshots as a state machine, and what tells them apart.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ChangeSource, DiskSummary};

/// Where a snapshot is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotState {
    /// Asked for; its moment is not fixed yet.
    Waiting,
    /// Its moment is held and can be used, while its data is copied into the snapshot store.
    Copying,
    /// All of it is in the store.
    Ready,
    /// It came to nothing, and nothing is left of it.
    Failed,
    /// Out of sight; it can be brought back until it is purged.
    Deleted,
}

impl SnapshotState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Copying, Self::Ready, Self::Failed, Self::Deleted];

    /// The state in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Copying => "copying",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Deleted => "deleted",
        }
    }

    /// The states from which a snapshot may come into this one.
    #[must_use]
    pub fn predecessors(self) -> &'static [Self] {
        match self {
            Self::Waiting => &[],
            Self::Copying => &[Self::Waiting],
            // From waiting too: a server that died may have got further than it could note.
            Self::Ready => &[Self::Waiting, Self::Copying, Self::Deleted],
            Self::Failed => &[Self::Waiting, Self::Copying],
            Self::Deleted => &[Self::Ready],
        }
    }

    /// Whether a snapshot may go from this state into the next.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        next.predecessors().contains(&self)
    }

    /// Whether nobody else may have its name.
    #[must_use]
    pub fn is_living(self) -> bool {
        matches!(self, Self::Waiting | Self::Copying | Self::Ready)
    }
}

impl fmt::Display for SnapshotState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for SnapshotState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a state of a snapshot"))
    }
}

/// How much had to be read for a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotKind {
    /// Everything, and there was nothing to compare a disk with.
    Full,
    /// Only what changed since the snapshot before.
    Incremental,
    /// Everything, and what differed from the snapshot before was stored.
    Compared,
}

impl SnapshotKind {
    /// The kind of a snapshot of these disks: the dearest of them says it.
    #[must_use]
    pub fn of(disks: &[DiskSummary]) -> Self {
        let any = |is: fn(&ChangeSource) -> bool| disks.iter().any(|disk| is(&disk.source));
        if any(|source| matches!(source, ChangeSource::Full)) {
            Self::Full
        } else if any(|source| matches!(source, ChangeSource::Compared { .. })) {
            Self::Compared
        } else {
            Self::Incremental
        }
    }

    /// The kind in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Compared => "compared",
        }
    }
}

impl fmt::Display for SnapshotKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}
