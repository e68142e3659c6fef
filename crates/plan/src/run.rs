//! A run of a plan: what is to be done, how far it is, and what comes next.
//!
//! Everything that a run needs is in it, so that a plan may be edited while it runs.

mod command;
mod durable;
mod lay_out;
mod machine;
mod standing;
mod step;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use model::{Timestamp, VmId, VmName};
use serde::{Deserialize, Serialize};

pub use self::{
    command::{Command, Refusal},
    standing::Standing,
    step::{Attempt, Outcome, Output, Step, StepId, StepState, Work},
};
use crate::{Action, Attachment, Plan};

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// To see whether it works: the VMs are made from their replicas, in isolation, and removed again.
    Test,
    /// With the help of the site that the VMs come from: nothing is lost.
    Planned,
    /// Without it.
    Unplanned,
}

impl Kind {
    pub(crate) fn all() -> Vec<Self> {
        vec![Self::Test, Self::Planned, Self::Unplanned]
    }

    /// The kind in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Planned => "planned",
            Self::Unplanned => "unplanned",
        }
    }
}

/// Which way the application goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Away from its own site.
    Failover,
    /// Back to it.
    Failback,
}

impl Direction {
    pub(crate) fn all() -> Vec<Self> {
        vec![Self::Failover, Self::Failback]
    }

    /// The direction in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Failback => "failback",
        }
    }
}

/// The parts of a run's life. Each but the first begins when somebody wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// The VMs come up.
    Recover,
    /// What a test made is removed, or what a planned failover shut down and did not hand over is started again.
    CleanUp,
    /// The VMs stay where they are now.
    Commit,
    /// The VMs are replicated back to where they came from.
    Reprotect,
}

/// What the operator wants of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// That it goes on.
    Go,
    /// That nothing more begins for now.
    Pause,
    /// That it ends.
    Cancel,
}

/// What somebody wants to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// The plan's name.
    pub plan: String,
    /// Which version of it.
    pub plan_version: u64,
    /// What for.
    pub kind: Kind,
    /// Which way.
    pub direction: Direction,
    /// Which moment of the replicas; what a planned failover ignores.
    pub point: String,
    /// Who wants it.
    pub operator: String,
}

/// A run. See the crate for what always holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The plan's name.
    pub plan: String,
    /// Which version of it.
    pub plan_version: u64,
    /// What for.
    pub kind: Kind,
    /// Which way.
    pub direction: Direction,
    /// Which moment of the replicas.
    pub point: String,
    /// Who wanted it.
    pub operator: String,
    /// When it began.
    pub begun_at: Timestamp,
    /// When the VMs were up, once they are: what took so long is the RTO.
    pub recovered_at: Option<Timestamp>,
    /// How long that should take at most, in seconds.
    pub rto_seconds: Option<u64>,
    /// How much may be lost at most, in seconds.
    pub rpo_seconds: Option<u64>,
    /// Whether it is a drill: a test that nobody watches, which [`crate::drill::next`] brings to its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_drill: bool,
    /// Whether the newest moment was asked for, of which `point` may be what that was when the run began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_newest: bool,
    act: Act,
    wish: Wish,
    waves: Vec<Wave>,
    next_step: u32,
    /// What is known of the VMs.
    vms: BTreeMap<VmName, VmFacts>,
    /// What actions have set.
    variables: BTreeMap<String, String>,
    after_cleanup: Vec<Action>,
    /// A mistake on purpose, for tests of the checkers.
    #[cfg(test)]
    #[serde(skip)]
    flaw: Option<tests::Flaw>,
}

/// Lanes side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// What it is, as in "group database".
    pub title: String,
    /// The part of the run's life that it belongs to.
    pub act: Act,
    /// The group that it belongs to, from 0.
    pub group: Option<u32>,
    /// Side by side.
    pub lanes: Vec<Lane>,
}

/// Steps one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// The VM that all of them are for.
    pub vm: Option<VmName>,
    /// One after the other.
    pub steps: Vec<Step>,
}

/// What a run knows of a VM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmFacts {
    /// Its group in the plan, from 0.
    pub group: u32,
    /// What its network devices are connected to in this run.
    #[serde(default)]
    pub networks: BTreeMap<u32, Attachment>,
    /// The VM that came up for it.
    pub vm_id: Option<VmId>,
    /// What that is called.
    pub up_as: Option<String>,
    /// The moment that it was made from, by the clock of its site.
    pub moment_at: Option<Timestamp>,
    /// The addresses that it has, as far as they are known.
    pub addresses: Vec<String>,
}

/// What comes to pass. A command of an operator is put in by [`Run::command`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Time has passed: see [`Run::due`]. Also what a run begins with.
    Tick,
    /// An attempt has ended. One that is not under way any more is let go of.
    Ended {
        /// The step.
        step: StepId,
        /// Which attempt.
        attempt: u32,
        /// How.
        outcome: Outcome,
    },
    /// Whoever carried the actions out is gone, and another has taken over. Comes before anything else does.
    Restarted,
}

/// What is to be done, once the run is kept durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// Do the work of a step; its end is an [`Event::Ended`] of this attempt.
    Begin {
        /// The step.
        step: StepId,
        /// Which attempt.
        attempt: u32,
    },
    /// End the work of a step, or wait for it no longer, and say how it ended.
    Stop {
        /// The step.
        step: StepId,
        /// Which attempt.
        attempt: u32,
    },
}

impl Run {
    /// A run of a plan that [`crate::validate`] finds no error in. It begins with its first [`Event::Tick`].
    #[must_use]
    pub fn begin(plan: &Plan, begin: Begin, now: Timestamp) -> Self {
        let mut run = Self {
            plan: begin.plan,
            plan_version: begin.plan_version,
            kind: begin.kind,
            direction: begin.direction,
            point: begin.point,
            operator: begin.operator,
            begun_at: now,
            recovered_at: None,
            rto_seconds: plan.rto_seconds,
            rpo_seconds: plan.rpo_seconds,
            is_drill: false,
            is_newest: false,
            act: Act::Recover,
            wish: Wish::Go,
            waves: Vec::new(),
            next_step: 1,
            vms: BTreeMap::new(),
            variables: BTreeMap::new(),
            after_cleanup: plan.after_cleanup.clone(),
            #[cfg(test)]
            flaw: None,
        };
        run.lay_out(plan);
        run
    }

    /// The part of its life that it is in.
    #[must_use]
    pub fn act(&self) -> Act {
        self.act
    }

    /// All waves, those of earlier parts of its life too, in their order.
    #[must_use]
    pub fn waves(&self) -> &[Wave] {
        &self.waves
    }

    /// All steps, in the order of the waves.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.waves.iter().flat_map(|wave| &wave.lanes).flat_map(|lane| &lane.steps)
    }

    /// A step.
    #[must_use]
    pub fn step(&self, id: StepId) -> Option<&Step> {
        self.steps().find(|step| step.id == id)
    }

    /// What is known of the VMs.
    #[must_use]
    pub fn vms(&self) -> &BTreeMap<VmName, VmFacts> {
        &self.vms
    }

    /// What actions have set.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// The steps that are done or have ended otherwise, and all, of the part of its life that it is in.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        let settled = self.current_steps().filter(|step| step.state.is_settled()).count();
        (settled, self.current_steps().count())
    }

    fn current_steps(&self) -> impl Iterator<Item = &Step> {
        let waves = self.waves.iter().filter(|wave| wave.act == self.act);
        waves.flat_map(|wave| &wave.lanes).flat_map(|lane| &lane.steps)
    }

    fn current_steps_mut(&mut self) -> impl Iterator<Item = &mut Step> {
        let act = self.act;
        let waves = self.waves.iter_mut().filter(move |wave| wave.act == act);
        waves.flat_map(|wave| &mut wave.lanes).flat_map(|lane| &mut lane.steps)
    }

    fn step_mut(&mut self, id: StepId) -> Option<&mut Step> {
        self.current_steps_mut().find(|step| step.id == id)
    }

    #[cfg(test)]
    fn has(&self, flaw: tests::Flaw) -> bool {
        self.flaw == Some(flaw)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}
