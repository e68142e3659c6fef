//! Passphrases, and what it costs to try one.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use model::VaultId;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{Error, Result};

/// A passphrase, wiped from memory when dropped and never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Passphrase(String);

impl Passphrase {
    /// The passphrase of this text, taken as it is: no trimming, no normalisation.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passphrase(…)")
    }
}

/// What it costs to try one passphrase with Argon2id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cost {
    pub(super) memory_kib: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
}

impl Cost {
    /// RFC 9106's second recommended setting: 64 MiB, three passes, four lanes.
    pub(super) const DEFAULT: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 4 };

    /// The dearest setting that is honoured: a slot is read before it can be authenticated, and must not exhaust the
    /// reader.
    const MAX: Self = Self { memory_kib: 1 << 20, passes: 16, lanes: 16 };

    /// What a slot says that costs nothing to try.
    pub(super) const NOTHING: Self = Self { memory_kib: 0, passes: 0, lanes: 0 };

    /// Whether a passphrase can be tried at this cost.
    pub(super) fn is_honoured(&self) -> bool {
        let Self { memory_kib, passes, lanes } = *self;
        memory_kib <= Self::MAX.memory_kib
            && passes <= Self::MAX.passes
            && lanes <= Self::MAX.lanes
            && self.params().is_ok()
    }

    /// Stretches a passphrase. The salt is the vault's id, so that the work is done once for all slots of one cost: of
    /// these a stranger can plant any number. Takes a moment: call it on a blocking thread.
    pub(super) fn stretch(&self, passphrase: &Passphrase, vault_id: VaultId) -> Result<Zeroizing<[u8; 32]>> {
        let mut stretched = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params()?)
            .hash_password_into(passphrase.0.as_bytes(), vault_id.as_str().as_bytes(), &mut *stretched)
            .map_err(|error| Error::invalid(format!("the passphrase cannot be tried: {error}")))?;
        Ok(stretched)
    }

    fn params(&self) -> Result<Params> {
        Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .map_err(|_| Error::corrupt("a key slot asks for an impossible cost"))
    }
}
