//! What server and guard say to each other: JSON, a line each, one report for each order.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The longest line of either side.
pub(super) const LINE_LIMIT_BYTES: usize = 1 << 20;

/// What a guard is told first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// The guest agent's socket.
    pub(crate) agent: Option<PathBuf>,
    /// Monitors that may be free, the best first.
    pub(crate) monitors: Vec<PathBuf>,
    /// The ledger in which to note what was undone.
    pub(crate) ledger: PathBuf,
}

/// What the server orders.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// Freeze the guest's file systems, and thaw them after this time at the latest.
    Freeze { limit_ms: u64 },
    /// Thaw.
    Thaw,
    /// From now on the virtual CPUs may stand still.
    Pausing,
    /// They run again.
    Resumed,
}

/// What the guard reports.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Report {
    /// The guard is in a session of its own and watches.
    Ready,
    /// So many file systems are frozen.
    Frozen { file_systems: u64 },
    /// They are not, or nobody knows; the guard goes on trying to thaw a guest that was asked to freeze.
    NotFrozen {
        reason: String,
        /// Whether the guest was asked, and may freeze yet.
        asked: bool,
    },
    /// The freeze is over.
    Thawed {
        /// How long it took from the order to freeze on.
        frozen_us: u64,
        /// Why it may have ended before the order to thaw.
        early: Option<String>,
        /// Whether the agent has confirmed it; else the guard goes on trying.
        confirmed: bool,
        /// Whether the applications were quiesced.
        quiescence: Quiescence,
    },
    /// The guard knows.
    Noted {
        /// Whether it had already resumed the VM by itself.
        expired: bool,
    },
}

/// Whether the guest's applications were quiesced while it was frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Quiescence {
    Proven,
    Unproven { reason: String },
}
