//! Deletion: which points go, which stay, and what a vault promises about it.

use model::{Immutability, VaultSettings};
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
