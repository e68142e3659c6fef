//! What runs by itself.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::JobKind;

/// What a policy makes of a VM. Of two that are due at once the lesser comes first: a snapshot keeps a backup waiting for
/// less time than a backup would keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunKind {
    /// Managed snapshots.
    Snapshot,
    /// Recovery points.
    Backup,
}

impl RunKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Snapshot, Self::Backup];

    /// The kind in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Backup => "backup",
        }
    }

    /// The kind of run whose job is of this kind.
    #[must_use]
    pub fn of(job: JobKind) -> Option<Self> {
        match job {
            JobKind::Snapshot => Some(Self::Snapshot),
            JobKind::Backup => Some(Self::Backup),
            _ => None,
        }
    }
}

impl fmt::Display for RunKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for RunKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is not a kind of run"))
    }
}
