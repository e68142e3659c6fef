//! Vaults and their verification.

use model::{ByteCount, PointId, VaultId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CopyView, ObjectLockView, SettingsView};

/// What opens a vault.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnlockWith {
    /// A passphrase.
    Passphrase(String),
    /// The text of a key file, an identity file or a writer key.
    KeyFile(String),
}

impl std::fmt::Debug for UnlockWith {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("UnlockWith(…)")
    }
}

/// Creates a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVault {
    /// The vault's name on this site.
    pub name: String,
    /// Where it is; defaults to a directory in the site's data directory.
    #[serde(default)]
    pub url: Option<String>,
    /// What will open it; none makes a key file, which the answer holds.
    #[serde(default)]
    pub unlock_with: Option<UnlockWith>,
}

/// A vault that was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedVault {
    /// The vault.
    pub vault: VaultView,
    /// The text of the key file that was made: without it or another key nobody ever reads the vault.
    pub key_file: Option<String>,
}

/// Makes an existing vault known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachVault {
    /// The vault's name on this site.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// What opens it.
    pub unlock_with: UnlockWith,
    /// Keep only the key that adds to the vault: from then on the site backs up, and cannot read the data of disks.
    #[serde(default)]
    pub write_only: bool,
}

/// A vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VaultView {
    /// The vault.
    #[schema(value_type = String)]
    pub id: VaultId,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Whether it opens, and why not.
    pub problem: Option<String>,
    /// Its recovery points.
    pub point_count: Option<u64>,
    /// What it holds, compressed and encrypted.
    #[schema(value_type = Option<u64>)]
    pub stored_bytes: Option<ByteCount>,
    /// What its recovery points show: the sum of their disks' virtual sizes.
    #[schema(value_type = Option<u64>)]
    pub protected_bytes: Option<ByteCount>,
    /// Whether the site's key reads the data of disks; with one that does not, it can only add to the vault.
    #[serde(default)]
    pub can_read: Option<bool>,
    /// What it promises about deletion.
    #[serde(default)]
    pub settings: Option<SettingsView>,
    /// Whether its store itself keeps that promise; only of an immutable vault.
    #[serde(default)]
    pub object_lock: Option<ObjectLockView>,
    /// Its copies, by name.
    #[serde(default)]
    pub copies: Vec<CopyView>,
    /// What somebody should look into although the vault opens.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerifyView {
    /// The vault's name.
    pub vault: String,
    /// Whether only some packs were to be read.
    #[serde(default)]
    pub is_partial: bool,
    /// Packs read.
    pub pack_count: u64,
    /// Those of them whose bytes were compared with their digests and no more, because the site's key cannot read them.
    #[serde(default)]
    pub digest_only_pack_count: u64,
    /// Chunks checked.
    pub chunk_count: u64,
    /// Bytes read from the store.
    #[schema(value_type = u64)]
    pub read_bytes: ByteCount,
    /// Every damaged object and chunk.
    pub damages: Vec<DamageView>,
    /// The points that the damage hurts.
    pub hurt_points: Vec<HurtPointView>,
    /// The points that restore in full.
    pub intact_point_count: u64,
}

/// One damaged object or chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DamageView {
    /// The object in the store.
    pub object: String,
    /// The chunk in it; none when the object as a whole is missing or unreadable.
    pub chunk: Option<String>,
    /// What is wrong.
    pub detail: String,
}

/// A recovery point that damage hurts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HurtPointView {
    /// The point.
    #[schema(value_type = String)]
    pub id: PointId,
    /// The VM's name.
    pub vm_name: String,
    /// The disks; those not named restore in full.
    pub disks: Vec<HurtDiskView>,
}

/// A disk of a recovery point that damage hurts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HurtDiskView {
    /// The disk.
    pub name: String,
    /// The bytes that are lost.
    #[schema(value_type = u64)]
    pub lost_bytes: ByteCount,
    /// The bytes that can still be read.
    #[schema(value_type = u64)]
    pub intact_bytes: ByteCount,
    /// The first lost ranges, as offset and length.
    pub first_lost_ranges: Vec<(u64, u64)>,
}
