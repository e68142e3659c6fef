//! Digests of what travels.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hex;

/// A BLAKE3 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(#[serde(with = "hex")] pub [u8; 32]);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

/// The digest of a disk on its way: over its size, and the number and digest of each region that was sent, in order.
///
/// Of a disk sent whole, those are the regions that hold anything but zeros; of changes, those that differ from the base,
/// each with all that it holds then.
#[derive(Debug, Clone)]
pub struct DiskDigest(blake3::Hasher);

impl DiskDigest {
    /// The digest of a disk of which nothing was sent.
    #[must_use]
    pub fn new(size_bytes: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("holdfast transfer v1 disk");
        hasher.update(&size_bytes.to_le_bytes());
        Self(hasher)
    }

    /// Adds the next region.
    pub fn add(&mut self, region: u64, digest: Digest) {
        self.0.update(&region.to_le_bytes()).update(&digest.0);
    }

    /// The digest of all that was added.
    #[must_use]
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}
