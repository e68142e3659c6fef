//! Policies: when backups and snapshots run by themselves, and which of them stay.

use model::{Consistency, JobId, RunKind, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{PointView, SnapshotView};

/// How many of the points that it made of a VM a policy keeps, by rule, and likewise of the snapshots. A point stays when one
/// rule at least keeps it; the newest always does. Without any rule, every point stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeepRules {
    /// The newest points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u32>,
    /// The newest point of each of so many hours that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hourly: Option<u32>,
    /// The same by days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<u32>,
    /// The same by weeks, which begin on Monday.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<u32>,
    /// The same by months.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly: Option<u32>,
    /// The same by years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yearly: Option<u32>,
    /// Every point that is not older, in hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_hours: Option<u32>,
}

/// Creates a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePolicy {
    /// Its name.
    pub name: String,
    /// When its runs are due: cron with five fields, systemd's calendar events (`daily`, `mon..fri 21:00`), or
    /// `every 15m`.
    pub schedule: String,
    /// The time zone by its IANA name; by default the host's.
    #[serde(default)]
    pub zone: Option<String>,
    /// Which of its points stay; by default all.
    #[serde(default)]
    pub keep: KeepRules,
    /// Over how long the runs of its VMs are spread, in seconds; by default 0.
    #[serde(default)]
    pub jitter_seconds: Option<u32>,
    /// For how long it deletes nothing after it was made to keep less, or a VM joined it, in hours; by default 24.
    #[serde(default)]
    pub grace_hours: Option<u32>,
}

/// Changes a policy. What is left out stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditPolicy {
    /// When its runs are due.
    #[serde(default)]
    pub schedule: Option<String>,
    /// The time zone by its IANA name.
    #[serde(default)]
    pub zone: Option<String>,
    /// Which of its points stay; 0 takes a rule away.
    #[serde(default)]
    pub keep: KeepRules,
    /// Over how long the runs of its VMs are spread, in seconds.
    #[serde(default)]
    pub jitter_seconds: Option<u32>,
    /// For how long it deletes nothing after it was made to keep less, or a VM joined it, in hours.
    #[serde(default)]
    pub grace_hours: Option<u32>,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyView {
    /// Its name.
    pub name: String,
    /// When its runs are due.
    pub schedule: String,
    /// The time zone of the schedule, and of the days that are kept.
    pub zone: String,
    /// The next three moments at which it is due, before they are spread.
    #[schema(value_type = Vec<String>)]
    pub next_runs: Vec<Timestamp>,
    /// Which of its points stay.
    pub keep: KeepRules,
    /// Over how long the runs of its VMs are spread, in seconds.
    pub jitter_seconds: u32,
    /// For how long it deletes nothing after it was made to keep less, or a VM joined it, in hours.
    pub grace_hours: u32,
    /// Until when it deletes nothing, where it was made to keep less just now.
    #[schema(value_type = Option<String>)]
    pub grace_until: Option<Timestamp>,
    /// What follows it: by VM, and the snapshots of a VM before its backups.
    pub followers: Vec<FollowerView>,
    /// Since when it is known.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
}

/// What follows a policy: the backups or the snapshots of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FollowerView {
    /// The VM, by name.
    pub vm: String,
    /// backup or snapshot.
    #[schema(value_type = String)]
    pub kind: RunKind,
    /// Its runs.
    #[serde(flatten)]
    pub runs: RunsView,
}

/// The policy that the backups or the snapshots of a VM follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FollowedPolicyView {
    /// The policy's name.
    pub name: String,
    /// Its runs for this VM.
    #[serde(flatten)]
    pub runs: RunsView,
}

/// The last run of a policy for a VM, and the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunsView {
    /// When the next run begins, if nothing else is at work.
    #[schema(value_type = Option<String>)]
    pub next_run_at: Option<Timestamp>,
    /// When the last run was.
    #[schema(value_type = Option<String>)]
    pub last_run_at: Option<Timestamp>,
    /// The job of the last run.
    #[schema(value_type = Option<String>)]
    pub last_job: Option<JobId>,
    /// Why the last run made nothing although nothing went wrong.
    pub skipped: Option<String>,
    /// Why the job of the last run failed.
    #[serde(default)]
    pub failed: Option<String>,
    /// The consistency that its snapshots ask for, where not that of the VM's protection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub consistency: Option<Consistency>,
}

/// What a policy's rules say of something that a policy made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerdictView {
    /// What it is about.
    #[serde(flatten)]
    pub made: MadeView,
    /// The rules that keep it: newest, last, hourly, daily, weekly, monthly, yearly, within.
    pub kept_by: Vec<String>,
    /// From when on the next run by the policy deletes it; null where it stays.
    #[schema(value_type = Option<String>)]
    pub goes_from: Option<Timestamp>,
    /// Why it stays although no rule keeps it.
    pub stays_because: Option<String>,
}

/// What a policy made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MadeView {
    /// A recovery point.
    Point(Box<PointView>),
    /// A managed snapshot.
    Snapshot(Box<SnapshotView>),
}
