//! A runbook that is run at the other site for a plan that runs at this one: only one which that site keeps, and lets others have run.
//!
//! Each run has a name that whoever asks gives it, and is begun once, however often it is asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The longest body that asks for a run, in bytes: what a plan tells an action.
pub const ORDER_BODY_MAX_BYTES: usize = 2 << 20;

/// The longest name of a run, in bytes: letters, digits and hyphens.
pub const RUN_NAME_MAX_BYTES: usize = 100;

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunbookOrder {
    /// The runbook's name there.
    pub runbook: String,
    /// Values of its parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// What it is told.
    pub context: serde_json::Value,
    /// The plain parts of that, as variables of the environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// How long it may take, in seconds.
    pub time_limit_seconds: u64,
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum RunbookRun {
    /// It is under way.
    Running,
    /// It did what it should.
    Succeeded {
        /// How its program ended.
        exit_code: Option<i32>,
        /// The end of what it printed.
        output: String,
        /// What it sets for later actions.
        variables: BTreeMap<String, String>,
    },
    /// It did not.
    Failed {
        /// Why.
        why: String,
        /// How its program ended.
        exit_code: Option<i32>,
        /// The end of what it printed.
        output: String,
    },
    /// It is not known whether it did.
    Unknown {
        /// Why.
        why: String,
    },
}
