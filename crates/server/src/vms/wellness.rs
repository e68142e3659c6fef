//! Whether a guest is well: what health gates of plans and tests of points ask.

use std::time::Duration;

use catalog::KnownVm;
use hypervisor::{AgentState, GuestProgram};

use super::access;
use crate::{failure::Result, site::Site};

/// How a check in a guest ended.
pub(crate) struct Checked {
    pub(crate) output: Vec<u8>,
    /// In words, where it did not end with 0.
    pub(crate) failure: Option<String>,
}

/// The version of the guest's agent; none where it does not answer.
pub(crate) async fn agent(site: &Site, vm: &KnownVm) -> Result<Option<String>> {
    let inspection = site.hypervisor.inspect(&access(vm)).await?;
    Ok(match inspection.agent {
        AgentState::Answers(version) => Some(version),
        _ => None,
    })
}

/// Runs a program in the guest to its end.
pub(crate) async fn check(site: &Site, vm: &KnownVm, command: &[String], limit: Duration) -> Result<Checked> {
    let program = GuestProgram::new(command.to_vec());
    let ended = site.hypervisor.run_in_guest(&access(vm), &program, limit).await?;
    let failure = match ended.code {
        Some(0) => None,
        Some(code) => Some(format!("with {code}")),
        None => Some("by a signal".to_owned()),
    };
    Ok(Checked { output: ended.output, failure })
}
