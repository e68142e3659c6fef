//! How a run stands, as a function of its steps and of what the operator wants.

use std::fmt;

use super::{Act, Kind, Run, Step, StepState, Wish};

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Something is under way, or will be in a moment.
    Running,
    /// It will be paused once what is under way has ended.
    Pausing,
    /// Nothing begins until it is resumed.
    Paused,
    /// It waits for a person: to retry, skip or confirm steps.
    NeedsAnswer,
    /// A step has failed that holds it up: to be retried or skipped.
    Failed,
    /// It will be cancelled once what is under way has ended.
    Cancelling,
    /// It was cancelled: to be cleaned up; a failover can be resumed or committed too.
    Cancelled,
    /// This part of its life is over.
    Done(Act),
}

impl Standing {
    /// Whether nothing changes until somebody wants something.
    #[must_use]
    pub fn is_at_rest(self) -> bool {
        !matches!(self, Self::Running | Self::Pausing | Self::Cancelling)
    }

    /// Whether nothing of the run is left to be done by itself: another run of the same VMs may begin.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done(_) | Self::Cancelled)
    }

    /// The standing in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::NeedsAnswer => "needs-answer",
            Self::Failed => "failed",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Done(Act::Recover) => "recovered",
            Self::Done(Act::CleanUp) => "cleaned-up",
            Self::Done(Act::Commit) => "committed",
            Self::Done(Act::Reprotect) => "reprotected",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl Run {
    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let any = |is_it: fn(&StepState) -> bool| self.current_steps().any(|step| is_it(&step.state));
        let is_active = any(StepState::is_active);
        match self.wish {
            Wish::Cancel if is_active => Standing::Cancelling,
            Wish::Cancel => Standing::Cancelled,
            _ if self.current_steps().all(|step| step.state.is_settled()) => Standing::Done(self.act),
            Wish::Pause if is_active => Standing::Pausing,
            Wish::Pause => Standing::Paused,
            Wish::Go if is_active => Standing::Running,
            Wish::Go if any(|state| matches!(state, StepState::Failed { .. })) => Standing::Failed,
            Wish::Go if any(|state| matches!(state, StepState::RetryAt { .. })) => Standing::Running,
            Wish::Go if any(StepState::is_question) => Standing::NeedsAnswer,
            Wish::Go => Standing::Running,
        }
    }

    /// The steps that wait for a person, or hold the run up.
    pub fn questions(&self) -> impl Iterator<Item = &Step> {
        let is_held_up =
            |step: &&Step| step.state.is_question() || matches!(step.state, StepState::Failed { .. });
        self.current_steps().filter(is_held_up)
    }

    /// What can be done about it now, in commands.
    #[must_use]
    pub fn ways_on(&self) -> Vec<&'static str> {
        let is_up = self.vms.values().any(|facts| facts.vm_id.is_some());
        let mut ways = match self.standing() {
            Standing::Running => vec!["pause", "cancel"],
            Standing::Pausing | Standing::Paused => vec!["resume", "cancel"],
            Standing::NeedsAnswer => vec!["confirm", "retry", "skip", "cancel"],
            Standing::Failed => vec!["retry", "skip", "cancel"],
            Standing::Cancelling => vec![],
            Standing::Cancelled if self.kind == Kind::Test => vec!["cleanup"],
            Standing::Cancelled if self.act == Act::Recover => vec!["resume", "cleanup"],
            Standing::Cancelled => vec![],
            Standing::Done(Act::Recover) if self.kind == Kind::Test => vec!["cleanup"],
            Standing::Done(Act::Recover) => vec!["commit"],
            Standing::Done(Act::Commit) => vec!["reprotect"],
            Standing::Done(Act::CleanUp | Act::Reprotect) => vec![],
        };
        let is_left = matches!(self.standing(), Standing::Cancelled | Standing::Done(Act::CleanUp));
        if is_left && self.kind != Kind::Test && is_up {
            ways.push("commit");
        }
        ways
    }
}
