//! Drills of recovery plans.

use model::{PlanRunId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Has a plan drilled by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleDrill {
    /// When drills are due, in the words of policies: `every 7d`, `sat 03:00`, cron.
    pub schedule: String,
    /// The time zone of that; the host's by default.
    #[serde(default)]
    pub zone: Option<String>,
    /// The moment of the replicas: latest, latest-application, a time, a checkpoint's name.
    #[serde(default = "latest")]
    pub point: String,
    /// How long after one was due a drill may not have passed before it is overdue, in hours; 24 by default.
    #[serde(default)]
    pub grace_hours: Option<u32>,
    /// Over how long the drills of plans are spread, in seconds; 0 by default.
    #[serde(default)]
    pub jitter_seconds: Option<u32>,
    /// How many reports stay; 52 by default.
    #[serde(default)]
    pub keep_reports: Option<u32>,
}

/// Drills a plan now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunDrill {
    /// The moment of the replicas: latest, latest-application, a time, a checkpoint's name.
    #[serde(default = "latest")]
    pub point: String,
    /// Who wants it.
    #[serde(default)]
    pub operator: Option<String>,
}

fn latest() -> String {
    "latest".to_owned()
}

/// When a plan is drilled by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrillScheduleView {
    /// When drills are due.
    pub schedule: String,
    /// The time zone of that.
    pub zone: String,
    /// The moment of the replicas that is drilled.
    pub point: String,
    /// How long after one was due a drill may not have passed before it is overdue, in hours.
    pub grace_hours: u32,
    /// Over how long the drills of plans are spread, in seconds.
    pub jitter_seconds: u32,
    /// How many reports stay.
    pub keep_reports: u32,
    /// When one is due next; past where it is put off.
    #[schema(value_type = Option<String>)]
    pub next_run_at: Option<Timestamp>,
    /// When the last that was due began.
    #[schema(value_type = Option<String>)]
    pub last_run_at: Option<Timestamp>,
    /// Why the one that is due has not begun; it does once that is over.
    pub put_off: Option<String>,
    /// Since when a drill should have passed and none has.
    #[schema(value_type = Option<String>)]
    pub overdue_since: Option<Timestamp>,
}

/// How it stands with the drills of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrillStateView {
    /// The plan's name.
    pub plan: String,
    /// When it is drilled; none where that is by hand only.
    pub schedule: Option<DrillScheduleView>,
    /// The drill that is under way, by its run.
    #[schema(value_type = Option<String>)]
    pub under_way: Option<PlanRunId>,
    /// The last that has ended.
    pub last: Option<DrillView>,
    /// When the last began that passed, be it late.
    #[schema(value_type = Option<String>)]
    pub last_passed_at: Option<Timestamp>,
}

/// What was measured, beside what the plan asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrillMeasureView {
    /// What was measured, in seconds; none where it never came to that.
    pub measured_seconds: Option<u64>,
    /// What it should be at most.
    pub target_seconds: Option<u64>,
}

/// A drill that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrillView {
    /// The drill, by the run that it was.
    #[schema(value_type = String)]
    pub id: PlanRunId,
    /// The plan's name.
    pub plan: String,
    /// When it began.
    #[schema(value_type = String)]
    pub begun_at: Timestamp,
    /// When it ended.
    #[schema(value_type = String)]
    pub ended_at: Timestamp,
    /// passed, passed-late where a target of the plan was missed, failed or cancelled.
    pub verdict: String,
    /// Why it is no better.
    pub reasons: Vec<String>,
    /// How long it took until everything was up.
    pub rto: DrillMeasureView,
    /// How old the oldest moment was that a VM came up from when it began.
    pub rpo: DrillMeasureView,
    /// Who wanted it.
    pub operator: Option<String>,
    /// How much is not as it was in the drill before.
    pub changes: u64,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DrillReportFormat {
    /// For programs; docs/drills.md describes it.
    #[default]
    Json,
    /// One page that needs nothing else, with screenshots in it.
    Html,
    /// For a terminal.
    Text,
}

impl DrillReportFormat {
    /// The format in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Html => "html",
            Self::Text => "text",
        }
    }
}
