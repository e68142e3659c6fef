//! What is kept of a drill.

use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::Differences;

/// What a drill was, did and found. docs/drills.md describes it for those who read it with programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The run that the drill was.
    pub drill: String,
    /// The plan's name.
    pub plan: String,
    /// Which version of it.
    pub plan_version: u64,
    /// The site at which the VMs came up.
    pub site: String,
    /// Who wanted it: a person, or the schedule.
    pub operator: String,
    /// Which moment of the replicas was asked for.
    pub point: String,
    /// When it began.
    pub begun_at: Timestamp,
    /// When everything was removed, or given up.
    pub ended_at: Timestamp,
    /// What came of it.
    pub verdict: Verdict,
    /// Why it is no better, each in a line.
    pub reasons: Vec<String>,
    /// How long it took until everything was up.
    pub rto: Measure,
    /// How old the oldest moment was that a VM came up from when the drill began.
    pub rpo: Measure,
    /// The plan's VMs, by their groups.
    pub vms: Vec<VmReport>,
    /// What was done, one part after the other.
    pub parts: Vec<Part>,
    /// What is not as it was in the drill before; none where there was none.
    pub differences: Option<Differences>,
}

/// What came of a drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything came up, was well and was removed again, in time.
    Passed,
    /// The same, but for a target of the plan that was missed.
    PassedLate,
    /// Something did not work.
    Failed,
    /// Somebody ended it before all was up.
    Cancelled,
}

impl Verdict {
    /// The verdict in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::PassedLate => "passed-late",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The verdict for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::PassedLate => "passed late",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the application came up, be it late.
    #[must_use]
    pub fn is_passed(self) -> bool {
        matches!(self, Self::Passed | Self::PassedLate)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl std::str::FromStr for Verdict {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Passed, Self::PassedLate, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|verdict| verdict.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not what comes of a drill"))
    }
}

/// What was measured, beside what the plan asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// What was measured, in seconds; none where it never came to that.
    pub measured_seconds: Option<u64>,
    /// What it should be at most; none where the plan asks for nothing.
    pub target_seconds: Option<u64>,
}

impl Measure {
    /// Whether it is more than it should be.
    #[must_use]
    pub fn is_missed(self) -> bool {
        self.measured_seconds.zip(self.target_seconds).is_some_and(|(measured, target)| measured > target)
    }
}

/// What became of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmReport {
    /// Its name at the site that it comes from.
    pub name: String,
    /// Its group, from 1.
    pub group: u32,
    /// Whether it came up and was well.
    pub is_up: bool,
    /// How long after the drill began it was, in milliseconds.
    pub up_after_ms: Option<u64>,
    /// The moment that it was made from, by the clock of its site.
    pub moment_at: Option<Timestamp>,
    /// Its addresses in the test, as far as they are known.
    pub addresses: Vec<String>,
    /// What its screen showed, last of all.
    pub screenshot: Option<Screenshot>,
    /// The end of what it wrote to its serial port.
    pub console: String,
}

/// A picture of a screen, which the site keeps beside the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Screenshot {
    /// The file, PNG, in the drill's folder.
    pub file: String,
    /// Its size.
    pub size_bytes: u64,
}

/// Steps that belong together: a group, what is done before or after one, or the removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is.
    pub title: String,
    /// Whether it is for removing what the drill made.
    pub is_cleanup: bool,
    /// The steps.
    pub steps: Vec<StepReport>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// Its number in the run.
    pub number: u32,
    /// What sort of step it is.
    pub sort: StepSort,
    /// What it does.
    pub title: String,
    /// The VM that it is for.
    pub vm: Option<String>,
    /// What came of it.
    pub result: StepResult,
    /// Why, where there is something to say.
    pub why: Option<String>,
    /// When it was begun first.
    pub began_at: Option<Timestamp>,
    /// How long it took from then until it ended last, in milliseconds.
    pub took_ms: Option<u64>,
    /// How often it was begun.
    pub attempts: u32,
    /// How its program ended last.
    pub exit_code: Option<i32>,
    /// The end of what it wrote last.
    pub log: String,
}

/// What sort of step something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepSort {
    /// Looks whether the run can work.
    Preparation,
    /// Has a VM run, or gives it its addresses.
    Vm,
    /// Looks whether a VM is well.
    Health,
    /// An action of the plan.
    Action,
    /// Removes what the drill made.
    Removal,
}

impl StepSort {
    /// The sort in words.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Preparation => "preparation",
            Self::Vm => "VM",
            Self::Health => "check",
            Self::Action => "action",
            Self::Removal => "removal",
        }
    }
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepResult {
    /// It was done.
    Done,
    /// It was not, also where the run went on.
    Failed,
    /// A person would have done it.
    Skipped,
    /// It is not for tests, or its VM did not come up.
    LeftOut,
    /// The drill ended before.
    NotReached,
}

impl StepResult {
    /// The result in words.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::LeftOut => "left out",
            Self::NotReached => "not reached",
        }
    }
}

impl Report {
    /// All steps, in their order.
    pub fn steps(&self) -> impl Iterator<Item = &StepReport> {
        self.parts.iter().flat_map(|part| &part.steps)
    }
}
