//! What is in a plan, as it is written.
//!
//! Every field that is not known is an error, so that a word that is spelt wrongly is found before the plan is needed.

mod action;
mod vm;

use serde::{Deserialize, Serialize};

pub use action::{
    Action, Ansible, GuestCommand, HostScript, HttpCall, Manual, OnFailure, RunbookCall, Where, Work,
};
pub use vm::{Attachment, Gate, HttpGate, Network, TcpGate, Vm};

/// The only version of the document there is.
pub(crate) const VERSION: u32 = 1;

/// A recovery plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The version of the document: 1.
    pub version: u32,
    /// What the plan is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How long a run should take at most, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto_seconds: Option<u64>,
    /// How much may be lost at most, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo_seconds: Option<u64>,
    /// The order of the groups when the application goes back.
    #[serde(default)]
    pub failback_order: FailbackOrder,
    /// Comes up in this order.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// What is done once a test was cleaned up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_cleanup: Vec<Action>,
}

/// In which order the groups come up when the application goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailbackOrder {
    /// As always: who needs whom does not depend on the site.
    #[default]
    Same,
    /// The last group first.
    Reverse,
}

/// VMs that come up side by side, and what is done before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name in the plan.
    pub name: String,
    /// Done before the first VM, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre: Vec<Action>,
    /// Come up side by side.
    #[serde(default)]
    pub vms: Vec<Vm>,
    /// Done once all VMs are up and well, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post: Vec<Action>,
}

impl Plan {
    /// All VMs, in the order of the groups.
    pub fn vms(&self) -> impl Iterator<Item = &Vm> {
        self.groups.iter().flat_map(|group| &group.vms)
    }

    /// All actions, with the paths at which they are.
    pub fn actions(&self) -> impl Iterator<Item = (String, &Action)> {
        let of_groups = self.groups.iter().enumerate().flat_map(|(number, group)| {
            let pre = group.pre.iter().enumerate().map(move |(at, action)| (number, "pre", at, action));
            let post = group.post.iter().enumerate().map(move |(at, action)| (number, "post", at, action));
            pre.chain(post)
                .map(|(number, list, at, action)| (format!("groups[{number}].{list}[{at}]"), action))
        });
        let after = self.after_cleanup.iter().enumerate();
        of_groups.chain(after.map(|(at, action)| (format!("after_cleanup[{at}]"), action)))
    }
}
