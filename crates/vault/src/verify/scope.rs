//! Which packs a verification reads.

use std::collections::{BTreeMap, HashSet};

use env::{Entropy, random};
use model::Timestamp;

use crate::Digest;

/// How a vault is verified.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Which packs of data are read.
    pub scope: VerifyScope,
}

/// Which packs of data are read.
#[derive(Debug, Clone, Default)]
pub enum VerifyScope {
    /// All of them.
    #[default]
    Everything,
    /// Some, drawn anew each time.
    Sample {
        /// How likely each is drawn: 100 draws all.
        percent: u8,
    },
    /// Those that nobody has found sound for a while.
    NotCheckedSince {
        /// Since when.
        since: Timestamp,
        /// When packs were last found sound, from [`crate::VerifyReport::sound_packs`] of earlier reports.
        checked: BTreeMap<Digest, Timestamp>,
    },
}

impl VerifyScope {
    /// Whether to read a pack.
    pub(super) fn holds(&self, pack: &Digest, tree_packs: &HashSet<Digest>, entropy: &dyn Entropy) -> bool {
        if tree_packs.contains(pack) {
            return true;
        }
        match self {
            Self::Everything => true,
            Self::Sample { percent } => u64::from_le_bytes(random(entropy)) % 100 < u64::from(*percent),
            Self::NotCheckedSince { since, checked } => checked.get(pack).is_none_or(|at| at < since),
        }
    }
}
