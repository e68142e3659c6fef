//! Copies of vaults.

use model::{ByteCount, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ObjectLockView;

/// Gives a vault a copy at another place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddCopy {
    /// The copy's name among those of the vault.
    pub name: String,
    /// Where it is to be: an empty place, or one that holds a copy of this vault already.
    pub url: String,
}

/// A copy of a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CopyView {
    /// The vault's name.
    pub vault: String,
    /// The copy's name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// How it stands.
    pub state: CopyState,
    /// Since when the site keeps it.
    #[schema(value_type = String)]
    pub added_at: Timestamp,
    /// When it last held all that the vault did.
    #[schema(value_type = Option<String>)]
    pub last_synced_at: Option<Timestamp>,
    /// Points that the vault has and the copy has not; null where that was not looked at.
    pub points_behind: Option<u64>,
    /// When the oldest change was made that the copy lacks.
    #[schema(value_type = Option<String>)]
    pub behind_since: Option<Timestamp>,
    /// Why it could not be brought up to date, or looked at.
    pub problem: Option<String>,
    /// Whether its store itself keeps what the vault promises about deletion; only of an immutable vault.
    #[serde(default)]
    pub object_lock: Option<ObjectLockView>,
}

/// How a copy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CopyState {
    /// A job is bringing it up to date.
    Syncing,
    /// It holds what the vault holds.
    UpToDate,
    /// The vault has changed since; the next backup or `copy sync` brings it up to date.
    Behind,
    /// The last attempt failed, or the copy does not answer.
    Failing,
    /// Nobody has looked, or a newer server says what this client does not know.
    #[serde(other)]
    Unknown,
}

/// What was brought to a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncView {
    /// The vault's name.
    pub vault: String,
    /// The copy's name.
    pub copy: String,
    /// Changes of the vault that the copy has now.
    pub change_count: u64,
    /// Recovery points among them.
    pub point_count: u64,
    /// Packs that were sent.
    pub pack_count: u64,
    /// Bytes that were sent.
    #[schema(value_type = u64)]
    pub sent_bytes: ByteCount,
    /// Objects that are damaged or lost in the vault, and so could not be sent.
    pub damaged_count: u64,
}
