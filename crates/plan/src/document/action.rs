//! What is done between the groups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::run::{Direction, Kind};

/// How long an action may take, unless it says otherwise.
const TIMEOUT_DEFAULT_SECONDS: u64 = 300;

/// How long is waited before it is tried again.
const RETRY_PAUSE_DEFAULT_SECONDS: u64 = 5;

/// Something that is done before or after a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// Its name, which no other action of the plan has.
    pub name: String,
    /// A program on a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<HostScript>,
    /// A program inside a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestCommand>,
    /// A request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCall>,
    /// An Ansible playbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ansible: Option<Ansible>,
    /// Something that a person does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<Manual>,
    /// A runbook of the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<RunbookCall>,
    /// How long an attempt may take, in seconds; 300 by default, without limit for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// How often it is tried again when it fails.
    #[serde(default)]
    pub retries: u32,
    /// How long is waited before that, in seconds.
    #[serde(default = "retry_pause_default")]
    pub retry_pause_seconds: u64,
    /// What becomes of the run when it has failed for good.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Whether it may be done again when it is not known whether it was done.
    #[serde(default)]
    pub repeatable: bool,
    /// In which runs it is done.
    #[serde(default = "Kind::all", skip_serializing_if = "is_all_kinds")]
    pub applies_to: Vec<Kind>,
    /// In which directions it is done.
    #[serde(default = "Direction::all", skip_serializing_if = "is_all_directions")]
    pub directions: Vec<Direction>,
}

/// What an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work<'action> {
    /// A program on a host.
    Script(&'action HostScript),
    /// A program inside a guest.
    Guest(&'action GuestCommand),
    /// A request.
    Http(&'action HttpCall),
    /// An Ansible playbook.
    Ansible(&'action Ansible),
    /// Something that a person does.
    Manual(&'action Manual),
    /// A runbook of the site.
    Runbook(&'action RunbookCall),
}

/// On which site something is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Where {
    /// Where the application comes up.
    #[default]
    Target,
    /// Where it was.
    Source,
}

impl Where {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it a reference")]
    fn is_target(&self) -> bool {
        *self == Self::Target
    }
}

/// A program on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostScript {
    /// The program and its arguments, handed to no shell.
    pub command: Vec<String>,
    /// On which site's host.
    #[serde(default)]
    pub site: Where,
}

/// A program inside a guest, run by its agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestCommand {
    /// The VM, which is one of the plan.
    pub vm: String,
    /// The program and its arguments, handed to no shell.
    pub command: Vec<String>,
}

/// A request. An answer of 200 to 299 is success, unless the statuses are named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpCall {
    /// Where to.
    pub url: String,
    /// POST by default.
    #[serde(default = "post")]
    pub method: String,
    /// Headers beside those of HTTP itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body; the context as JSON by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The statuses that mean success.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u16>,
}

/// An Ansible playbook, run by the `ansible-playbook` of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ansible {
    /// The playbook's file.
    pub playbook: String,
    /// The inventory; by default the VMs that came up, by their addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<String>,
    /// Further variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

/// Something that a person does. The run waits until somebody confirms it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manual {
    /// What is to be done.
    pub instructions: String,
}

/// A runbook of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunbookCall {
    /// Its name.
    pub name: String,
    /// Which site's: it is run where it is kept.
    #[serde(default, skip_serializing_if = "Where::is_target")]
    pub site: Where,
    /// What it is told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

/// What becomes of a run when a step has failed for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Nothing more begins until somebody retries or skips the step.
    #[default]
    Stop,
    /// The run goes on.
    Continue,
    /// What depends on it waits until somebody decides; what runs beside it goes on.
    Ask,
}

impl Action {
    /// An action of this name that is nothing yet, with everything else as where a document says nothing.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            script: None,
            guest: None,
            http: None,
            ansible: None,
            manual: None,
            runbook: None,
            timeout_seconds: None,
            retries: 0,
            retry_pause_seconds: RETRY_PAUSE_DEFAULT_SECONDS,
            on_failure: OnFailure::default(),
            repeatable: false,
            applies_to: Kind::all(),
            directions: Direction::all(),
        }
    }

    /// What it is: none, or the first of several, of an action that [`crate::validate`] refuses.
    #[must_use]
    pub fn work(&self) -> Option<Work<'_>> {
        self.works().next()
    }

    pub(crate) fn works(&self) -> impl Iterator<Item = Work<'_>> {
        let all = [
            self.script.as_ref().map(Work::Script),
            self.guest.as_ref().map(Work::Guest),
            self.http.as_ref().map(Work::Http),
            self.ansible.as_ref().map(Work::Ansible),
            self.manual.as_ref().map(Work::Manual),
            self.runbook.as_ref().map(Work::Runbook),
        ];
        all.into_iter().flatten()
    }

    /// Whether it is done in such a run.
    #[must_use]
    pub fn applies(&self, kind: Kind, direction: Direction) -> bool {
        self.applies_to.contains(&kind) && self.directions.contains(&direction)
    }

    /// How long an attempt may take, in seconds; none where a person does it.
    #[must_use]
    pub fn limit_seconds(&self) -> Option<u64> {
        let default = self.manual.is_none().then_some(TIMEOUT_DEFAULT_SECONDS);
        self.timeout_seconds.or(default)
    }
}

fn retry_pause_default() -> u64 {
    RETRY_PAUSE_DEFAULT_SECONDS
}

fn post() -> String {
    "POST".to_owned()
}

fn is_all_kinds(kinds: &[Kind]) -> bool {
    kinds == Kind::all()
}

fn is_all_directions(directions: &[Direction]) -> bool {
    directions == Direction::all()
}
