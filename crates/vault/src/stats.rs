//! What a vault holds, by counting its objects.

use model::ByteCount;

use crate::{Result, Vault, store::ObjectKind};

/// Objects of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObjectStats {
    /// How many there are.
    pub count: u64,
    /// What they take in the store.
    pub bytes: ByteCount,
}

/// What a vault holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VaultStats {
    /// The disks' bytes.
    pub packs: ObjectStats,
    /// The index's segments.
    pub index_segments: ObjectStats,
    /// The recovery points.
    pub points: ObjectStats,
}

impl VaultStats {
    /// All bytes in the store, but for the config and the key slots.
    #[must_use]
    pub fn stored_bytes(&self) -> ByteCount {
        self.packs.bytes + self.index_segments.bytes + self.points.bytes
    }
}

impl Vault {
    /// Counts the vault's objects. Lists the whole store, and reads nothing.
    ///
    /// # Errors
    /// Whatever keeps the store from being listed.
    pub async fn stats(&self) -> Result<VaultStats> {
        Ok(VaultStats {
            packs: self.count(ObjectKind::Pack).await?,
            index_segments: self.count(ObjectKind::IndexSegment).await?,
            points: self.count(ObjectKind::Point).await?,
        })
    }

    async fn count(&self, kind: ObjectKind) -> Result<ObjectStats> {
        let listed = self.shared.store.list(kind).await?;
        let bytes = listed.iter().map(|(_, size_bytes)| ByteCount(*size_bytes)).sum();
        Ok(ObjectStats { count: listed.len() as u64, bytes })
    }
}
