//! Why something may not be done now.

use std::fmt;

use model::Timestamp;

use crate::Failover;

/// Why something may not be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The VM was failed over: the source must not go on with it.
    Fenced(Failover),
    /// The source's generation is older than one that is known.
    Older {
        /// What it says.
        offered: u64,
        /// What is known.
        known: u64,
    },
    /// The source has ended the replication.
    Ended {
        /// When.
        at: Timestamp,
    },
    /// The VM runs here already.
    FailedOver(Failover),
    /// There is no failover yet.
    NotFailedOver,
    /// The failover is not through.
    Unfinished(Failover),
    /// The failover waits for its commit.
    Uncommitted(Failover),
    /// The failover was committed: there are no other moments any more.
    Committed(Failover),
    /// Tests have not been cleaned up.
    Tested {
        /// How many.
        running_tests: usize,
    },
}

impl Refusal {
    /// Whether it is the source that has to give up.
    #[must_use]
    pub fn is_fence(&self) -> bool {
        matches!(self, Self::Fenced(_) | Self::Older { .. })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced(Failover { begun_at, generation, .. }) => {
                write!(formatter, "the VM was failed over at {begun_at}, which began generation {generation}")
            }
            Self::Older { offered, known } => {
                write!(formatter, "generation {offered} of the VM is over: generation {known} is known")
            }
            Self::Ended { at } => write!(formatter, "the source ended the replication at {at}"),
            Self::FailedOver(Failover { begun_at, .. }) => {
                write!(formatter, "the VM was failed over at {begun_at}")
            }
            Self::NotFailedOver => formatter.write_str("the VM was not failed over"),
            Self::Unfinished(Failover { begun_at, .. }) => {
                write!(formatter, "the failover that began at {begun_at} is not through")
            }
            Self::Uncommitted(Failover { begun_at, .. }) => {
                write!(formatter, "the failover that began at {begun_at} is not committed")
            }
            Self::Committed(Failover { begun_at, .. }) => {
                write!(
                    formatter,
                    "the failover that began at {begun_at} is committed: no other moments are left"
                )
            }
            Self::Tested { running_tests: 1 } => formatter.write_str("a test of it is not cleaned up"),
            Self::Tested { running_tests } => {
                write!(formatter, "{running_tests} tests of it are not cleaned up")
            }
        }
    }
}

impl std::error::Error for Refusal {}
