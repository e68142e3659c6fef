//! Deletion: which points go, which stay, and what a vault promises about it.

use model::{Immutability, Timestamp, VaultSettings};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Deletes recovery points. All of them, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeletePoints {
    /// The points: `point:<vm>/<point>`.
    pub references: Vec<String>,
    /// Say what would be deleted, or why it may not be, and delete nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// The recovery points to bring back, or to release from their hold. All of them, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChosenPoints {
    /// The points: `point:<vm>/<point>`.
    pub references: Vec<String>,
}

/// Puts recovery points under a legal hold: nobody may delete them until they are released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldPoints {
    /// The points: `point:<vm>/<point>`.
    pub references: Vec<String>,
    /// Why.
    pub reason: String,
}

/// What a vault promises about deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingsView {
    /// Days in which a deleted point can be brought back.
    pub soft_delete_days: u32,
    /// disabled, enabled or locked.
    #[schema(value_type = String)]
    pub immutability: Immutability,
    /// Days after its commit in which a point cannot be deleted, unless immutability is disabled.
    pub min_retention_days: u32,
}

impl From<VaultSettings> for SettingsView {
    fn from(settings: VaultSettings) -> Self {
        let VaultSettings { soft_delete_days, immutability, min_retention_days } = settings;
        Self { soft_delete_days, immutability, min_retention_days }
    }
}

/// Changes what a vault promises about deletion. What is left out stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSettings {
    /// Days in which a deleted point can be brought back; 0 lets the next collection take it.
    #[serde(default)]
    pub soft_delete_days: Option<u32>,
    /// disabled, enabled or locked; a locked vault can only be made stricter, by anybody, ever.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub immutability: Option<Immutability>,
    /// Days after its commit in which a point cannot be deleted.
    #[serde(default)]
    pub min_retention_days: Option<u32>,
    /// Say what would hold, or why it may not, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// Whether a store itself keeps what an immutable vault promises, by Object Lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ObjectLockView {
    /// How it stands.
    pub state: ObjectLockState,
    /// Who can end it: of all objects that recovery points need, the weakest.
    pub mode: Option<RetentionMode>,
    /// Until then nothing is lost that recovery points need now, whoever has the store's credentials.
    #[schema(value_type = Option<String>)]
    pub first_until: Option<Timestamp>,
    /// When the last retention ends.
    #[schema(value_type = Option<String>)]
    pub last_until: Option<Timestamp>,
    /// What somebody should look into.
    pub problem: Option<String>,
}

/// How a store stands to an immutable vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ObjectLockState {
    /// It retains what recovery points need.
    Retained,
    /// It cannot: who has its credentials can delete everything.
    None,
    /// It could not be told to.
    Failing,
    /// Nobody has looked yet, or a newer server says what this client does not know.
    #[serde(other)]
    Unknown,
}

/// Who can end a retention before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetentionMode {
    /// Those whom the bucket's owner allows it.
    Governance,
    /// Nobody.
    Compliance,
}
