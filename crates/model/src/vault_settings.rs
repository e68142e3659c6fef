//! What a vault promises about deletion.

use serde::{Deserialize, Serialize};

/// How long recovery points of a vault stay, whatever anybody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct VaultSettings {
    /// Days in which a deleted point can be brought back; 0 deletes at the next collection.
    pub soft_delete_days: u32,
    /// Whether points can be deleted at all before their time.
    pub immutability: Immutability,
    /// Days after its commit in which a point cannot be deleted while immutability is on.
    pub min_retention_days: u32,
}

/// Whether the least retention of a vault holds, and who may end it. As in Azure: a locked vault can only be made stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Immutability {
    /// Points can be deleted at any time.
    Disabled,
    /// Points stay for the least retention; that can be changed and switched off.
    Enabled,
    /// Points stay for the least retention, which can only be raised, by anybody, ever.
    Locked,
}

impl Default for VaultSettings {
    /// Fourteen days of soft delete, as Azure Backup has, and no immutability.
    fn default() -> Self {
        Self { soft_delete_days: 14, immutability: Immutability::Disabled, min_retention_days: 0 }
    }
}

impl VaultSettings {
    /// Whether these settings may follow `earlier` ones. Says why where they may not.
    ///
    /// # Errors
    /// What a locked vault does not allow.
    pub fn may_follow(&self, earlier: &Self) -> Result<(), &'static str> {
        if earlier.immutability != Immutability::Locked {
            return Ok(());
        }
        if self.immutability != Immutability::Locked {
            return Err("the vault's immutability is locked and cannot be switched off");
        }
        if self.min_retention_days < earlier.min_retention_days {
            return Err("the vault's immutability is locked: its least retention can only be raised");
        }
        if self.soft_delete_days < earlier.soft_delete_days {
            return Err("the vault's immutability is locked: its soft delete can only be made longer");
        }
        Ok(())
    }

    /// Days after its commit in which a point cannot be deleted.
    #[must_use]
    pub fn retention_floor_days(&self) -> u32 {
        if self.immutability == Immutability::Disabled { 0 } else { self.min_retention_days }
    }
}
