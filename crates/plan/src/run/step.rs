//! A step: the least that a run begins, waits for, and may begin again.

use std::{collections::BTreeMap, fmt};

use model::{Timestamp, VmId, VmName};
use serde::{Deserialize, Serialize};

use crate::{Action, ActionWork, Attachment, Gate, OnFailure};

/// How many attempts of a step are remembered.
const ATTEMPTS_KEPT: usize = 8;

/// How much of what an attempt wrote is remembered, in bytes: its end.
const TEXT_KEPT_BYTES: usize = 8 << 10;

/// A step, by its place in the run, from 1. People type it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub u32);

impl fmt::Display for StepId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Looks whether the run can work: replicas, moments, memory, names, networks; of a planned failover the other site too.
    Check,
    /// Has the guest of a VM shut down, at the site that it comes from.
    ShutDown(VmName),
    /// Waits until everything that a VM wrote is here.
    Drain(VmName),
    /// Has a VM run here: as a test, handed over, or failed over.
    BringUp(VmName),
    /// Sets the addresses of a VM, through its agent: of each network device.
    SetAddresses(VmName, Vec<(u32, Attachment)>),
    /// Waits until a VM is well.
    Gate(VmName, Gate),
    /// An action of the plan.
    Act(Box<Action>),
    /// Removes the VM of a test.
    TakeDown(VmName),
    /// Starts a VM again where it was shut down.
    StartAgain(VmName),
    /// Has a VM stay.
    Commit(VmName),
    /// Replicates a VM back to where it came from.
    Reprotect(VmName),
}

impl Work {
    /// The VM that it is for.
    #[must_use]
    pub fn vm(&self) -> Option<&VmName> {
        match self {
            Self::ShutDown(vm)
            | Self::Drain(vm)
            | Self::BringUp(vm)
            | Self::SetAddresses(vm, _)
            | Self::Gate(vm, _)
            | Self::TakeDown(vm)
            | Self::StartAgain(vm)
            | Self::Commit(vm)
            | Self::Reprotect(vm) => Some(vm),
            Self::Check | Self::Act(_) => None,
        }
    }

    /// Whether it may be done again when it is not known whether it was done.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::Act(action) => action.repeatable,
            // Each asks how things are before it does anything.
            _ => true,
        }
    }

    /// Whether a person does it.
    #[must_use]
    pub fn is_manual(&self) -> bool {
        matches!(self, Self::Act(action) if matches!(action.work(), Some(ActionWork::Manual(_))))
    }

    /// How long an attempt may take, in seconds.
    pub(super) fn limit_seconds(&self) -> Option<u64> {
        const MINUTE: u64 = 60;
        match self {
            Self::Check => Some(2 * MINUTE),
            // The guest boots first.
            Self::SetAddresses(..) | Self::Commit(_) | Self::Reprotect(_) => Some(5 * MINUTE),
            Self::ShutDown(_) | Self::TakeDown(_) | Self::StartAgain(_) => Some(10 * MINUTE),
            Self::BringUp(_) => Some(60 * MINUTE),
            Self::Drain(_) => Some(24 * 60 * MINUTE),
            Self::Gate(_, gate) => Some(gate.timeout_seconds),
            Self::Act(action) => action.limit_seconds(),
        }
    }

    /// In a few words.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Check => "check what is needed".to_owned(),
            Self::ShutDown(vm) => format!("shut {vm} down"),
            Self::Drain(vm) => format!("wait for the last writes of {vm}"),
            Self::BringUp(vm) => format!("bring {vm} up"),
            Self::SetAddresses(vm, _) => format!("set the addresses of {vm}"),
            Self::Gate(vm, gate) => format!("{vm}: {}", gate.title()),
            Self::Act(action) => action.name.clone(),
            Self::TakeDown(vm) => format!("remove the test of {vm}"),
            Self::StartAgain(vm) => format!("start {vm} where it was"),
            Self::Commit(vm) => format!("commit {vm}"),
            Self::Reprotect(vm) => format!("replicate {vm} back"),
        }
    }
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its number.
    pub id: StepId,
    /// What it does.
    pub work: Work,
    /// What becomes of the run when it fails for good.
    pub on_failure: OnFailure,
    /// How often it is tried again by itself.
    pub retries: u32,
    /// How often it still is.
    pub retries_left: u32,
    /// How long is waited before that, in seconds.
    pub retry_pause_seconds: u64,
    /// How it stands.
    pub state: StepState,
    /// How often it was begun.
    pub attempts: u32,
    /// The newest of those that have ended, oldest first.
    pub history: Vec<Attempt>,
}

/// How a step stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Its turn has not come.
    Waiting,
    /// Under way.
    Running {
        /// Since when.
        since: Timestamp,
        /// Until when it may be.
        until: Option<Timestamp>,
    },
    /// Told to end.
    Stopping {
        /// When it began.
        since: Timestamp,
        /// Why.
        why: StopReason,
        /// After that nobody waits for it.
        until: Timestamp,
    },
    /// It failed and is tried again.
    RetryAt {
        /// When.
        at: Timestamp,
        /// Why it failed.
        why: String,
    },
    /// A person does it.
    AtHand {
        /// Since when.
        since: Timestamp,
        /// Until when it may be.
        until: Option<Timestamp>,
    },
    /// Somebody has to say whether it is done again, counts as done, or is skipped.
    Asking {
        /// Why.
        why: String,
    },
    /// Done.
    Done {
        /// When.
        at: Timestamp,
        /// Who says so, and what they noted, where a person does.
        note: Option<String>,
    },
    /// It failed, and the run went on.
    PassedOver {
        /// Why it failed.
        why: String,
    },
    /// It failed, and the run stands still.
    Failed {
        /// Why.
        why: String,
    },
    /// Somebody has said that the run goes on without it.
    Skipped {
        /// Who, and what they noted.
        note: String,
    },
    /// It is not for this run.
    LeftOut {
        /// Why.
        why: String,
    },
    /// The run was cancelled before it was done.
    Cancelled,
}

/// Why a step was told to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// Its time was over.
    TimedOut,
    /// Somebody has skipped it, and noted this.
    Skipped(String),
    /// The run was cancelled.
    Cancelled,
}

impl StepState {
    /// Whether what comes after it may begin.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(
            self,
            Self::Done { .. }
                | Self::PassedOver { .. }
                | Self::Skipped { .. }
                | Self::LeftOut { .. }
                | Self::Cancelled
        )
    }

    /// Whether something is under way.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Stopping { .. })
    }

    /// Whether it waits for a person.
    #[must_use]
    pub fn is_question(&self) -> bool {
        matches!(self, Self::Asking { .. } | Self::AtHand { .. })
    }
}

/// One time that a step was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which one, from 1.
    pub number: u32,
    /// When it began.
    pub began_at: Timestamp,
    /// When its end was known.
    pub ended_at: Timestamp,
    /// Why it failed; none where it did not.
    pub failure: Option<String>,
    /// How its program ended.
    pub exit_code: Option<i32>,
    /// The end of what it wrote.
    pub text: String,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should.
    Succeeded(Output),
    /// It did not, and is not under way any more.
    Failed {
        /// Why.
        why: String,
        /// What it left.
        output: Output,
    },
    /// It is not known whether it did, and it is not under way any more.
    Unknown {
        /// Why.
        why: String,
    },
}

/// What an attempt left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// How its program ended.
    pub exit_code: Option<i32>,
    /// What it wrote, or the end of it.
    pub text: String,
    /// What it set for later actions.
    pub variables: BTreeMap<String, String>,
    /// The VM that came up.
    pub vm: Option<(VmId, String)>,
    /// The moment that it was made from.
    pub moment_at: Option<Timestamp>,
    /// Addresses of the guest.
    pub addresses: Vec<String>,
}

impl Step {
    /// When the attempt that is under way began.
    pub(super) fn began_at(&self) -> Option<Timestamp> {
        match self.state {
            StepState::Running { since, .. }
            | StepState::Stopping { since, .. }
            | StepState::AtHand { since, .. } => Some(since),
            _ => None,
        }
    }

    /// Remembers how the attempt that is under way ended.
    pub(super) fn remember(&mut self, now: Timestamp, failure: Option<&str>, output: &Output) {
        if self.history.len() >= ATTEMPTS_KEPT {
            self.history.remove(0);
        }
        self.history.push(Attempt {
            number: self.attempts,
            began_at: self.began_at().unwrap_or(now),
            ended_at: now,
            failure: failure.map(|why| tail(why).to_owned()),
            exit_code: output.exit_code,
            text: tail(&output.text).to_owned(),
        });
    }
}

/// The end of a text, as much as is remembered of it.
pub(super) fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(TEXT_KEPT_BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}
