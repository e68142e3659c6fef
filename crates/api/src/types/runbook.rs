//! Runbooks: actions with names and parameters.

use std::collections::BTreeMap;

use model::{SiteId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Creates a runbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRunbook {
    /// Its name.
    pub name: String,
    /// What it is, in TOML or YAML.
    pub document: String,
}

/// Puts another document in the place of a runbook's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditRunbook {
    /// What it is from now on, in TOML or YAML.
    pub document: String,
}

/// Runs a runbook once, with a context that says that it is a test and of no plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRunbook {
    /// Values of its parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// What the context says of `DryRun`: whether the runbook should change nothing, which it has to heed itself.
    #[serde(default)]
    pub dry_run: bool,
}

/// A runbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunbookView {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What it is: script, guest, http or ansible.
    pub kind: String,
    /// What it has to be told.
    pub parameters: Vec<ParameterView>,
    /// The document, as it was written.
    pub document: String,
    /// The id of the site that it came from, with a plan; none where it was written here.
    #[schema(value_type = Option<String>)]
    pub origin: Option<SiteId>,
    /// Whether somebody here has agreed to what it does on this host; always true of what was written here.
    pub is_accepted: bool,
    /// Since when it is known.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// Since when it is this.
    #[schema(value_type = String)]
    pub changed_at: Timestamp,
}

/// What a runbook has to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParameterView {
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: Option<String>,
    /// What it is where nobody says; without it somebody has to.
    pub default: Option<String>,
}

/// How a runbook did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunbookTestView {
    /// The runbook.
    pub name: String,
    /// Why it failed; none where it did not.
    pub failure: Option<String>,
    /// How its program ended.
    pub exit_code: Option<i32>,
    /// What it printed, or its beginning and end.
    pub output: String,
    /// What it sets for later actions.
    pub variables: BTreeMap<String, String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}
