//! How a replica stands.

use std::fmt;

use model::{Timestamp, VmId};
use serde::{Deserialize, Serialize};

use crate::Refusal;

/// How a replica stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Standing {
    /// How far its failover is.
    pub stage: Stage,
    /// The newest generation that is known.
    pub generation: u64,
    /// When the source ended the replication.
    pub ended_at: Option<Timestamp>,
}

/// How far a failover is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "stage")]
pub enum Stage {
    /// The VM runs at the source.
    Protected,
    /// The VM is being made here, or an attempt broke off.
    FailingOver(Failover),
    /// It runs here, and may still be made from another moment.
    FailedOver(Failover),
    /// It runs here for good.
    #[serde(rename_all = "kebab-case")]
    Committed {
        /// The failover.
        failover: Failover,
        /// Since when.
        committed_at: Timestamp,
    },
}

/// A failover that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failover {
    /// The VM here.
    pub vm_id: VmId,
    /// When it began.
    pub begun_at: Timestamp,
    /// The generation from then on.
    pub generation: u64,
}

impl Standing {
    /// That of a journal that is offered for the first time.
    #[must_use]
    pub fn new(generation: u64) -> Self {
        Self { stage: Stage::Protected, generation, ended_at: None }
    }

    /// Fails for a replica of a generation that is over at its own site, where the newest that a failover began of the VM is this one:
    /// what it shows may be looked at and made into another VM, but it is no longer that VM.
    ///
    /// # Errors
    /// [`Refusal::Older`].
    pub fn check_newest(&self, fence: Option<u64>) -> Result<(), Refusal> {
        let is_over = |fence: u64| match self.failover() {
            Some(failover) => failover.generation < fence,
            None => self.generation <= fence,
        };
        match fence.filter(|fence| is_over(*fence)) {
            Some(known) => Err(Refusal::Older { offered: self.generation, known }),
            None => Ok(()),
        }
    }

    /// The failover, if one has begun that may still be made from another moment: until its commit, what its VM has written may go.
    #[must_use]
    pub fn uncommitted(&self) -> Option<&Failover> {
        match &self.stage {
            Stage::FailingOver(failover) | Stage::FailedOver(failover) => Some(failover),
            Stage::Protected | Stage::Committed { .. } => None,
        }
    }

    /// The failover, if one has begun.
    #[must_use]
    pub fn failover(&self) -> Option<&Failover> {
        match &self.stage {
            Stage::Protected => None,
            Stage::FailingOver(failover)
            | Stage::FailedOver(failover)
            | Stage::Committed { failover, .. } => Some(failover),
        }
    }
}

impl Stage {
    /// The stage in words.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Protected => "protected",
            Self::FailingOver(_) => "failing-over",
            Self::FailedOver(_) => "failed-over",
            Self::Committed { .. } => "committed",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}
