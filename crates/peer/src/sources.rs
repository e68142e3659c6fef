//! What the site that keeps a replica asks of the site where its VM runs: that the VM is shut down, handed over, or started again.
//!
//! Only of VMs that are replicated to the one who asks: who keeps all that a VM writes can have it run anyway. Each may be asked
//! again, and none waits: the answer says how the VM stands, and it is asked again until that is what was wanted.

use model::VmName;
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceCommand {
    /// Have the guest shut down.
    ShutDown,
    /// Hand the VM over, shut down before, with all that it wrote.
    HandOver,
    /// Start the VM again, which was not handed over.
    Start,
}

/// How a VM stands where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    /// What it is called there.
    pub vm_name: VmName,
    /// Whether it runs.
    pub is_running: bool,
    /// Whether it has ended and everything that it wrote is durable where it is replicated to.
    pub is_drained: bool,
    /// Why the other site lacks something of it, where it does.
    #[serde(default)]
    pub lacking: Option<String>,
    /// Whether what was asked is under way.
    #[serde(default)]
    pub is_busy: bool,
    /// Why what was asked last failed.
    #[serde(default)]
    pub problem: Option<String>,
    /// That it must not run there any more, and why.
    #[serde(default)]
    pub fenced: Option<String>,
}
