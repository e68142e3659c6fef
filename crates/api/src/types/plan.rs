//! Recovery plans and their runs.

use std::collections::BTreeMap;

use model::{JobId, PlanRunId, Timestamp, VmId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Keeps a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePlan {
    /// Its name.
    pub name: String,
    /// The document, in TOML or YAML.
    pub text: String,
    /// The site where its VMs are at home, by name or id; by default where their replicas here come from, or this one.
    #[serde(default)]
    pub primary_site: Option<String>,
}

/// Keeps another version of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditPlan {
    /// The document, in TOML or YAML.
    pub text: String,
    /// What is not in it any more may go.
    #[serde(default)]
    pub drop: bool,
}

/// Asks what is wrong with a document, or with a plan that is kept. One of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidatePlan {
    /// The document, in TOML or YAML.
    #[serde(default)]
    pub text: Option<String>,
    /// The plan, by name.
    #[serde(default)]
    pub plan: Option<String>,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// Its name.
    pub name: String,
    /// Which version of it, from 1.
    pub version: u64,
    /// The site that wrote this version, by name.
    pub written_at: String,
    /// Whether somebody here has agreed to what it does on this host; always true of what was written here.
    pub is_accepted: bool,
    /// The other sites that have to do with its VMs, and what they have of it.
    pub copies: Vec<PlanCopyView>,
    /// What it is for.
    pub description: Option<String>,
    /// Its groups, in their order.
    pub groups: Vec<String>,
    /// Its VMs, in the order of the groups.
    pub vms: Vec<String>,
    /// Its actions.
    pub actions: Vec<String>,
    /// The site where its VMs are at home, by name.
    pub primary_site: String,
    /// When it was written.
    #[schema(value_type = String)]
    pub changed_at: Timestamp,
    /// The document.
    pub text: String,
}

/// What another site has of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanCopyView {
    /// The site.
    pub site: String,
    /// The version that counts there; 0 where it has none.
    pub version: u64,
    /// Why it does not have the newest.
    pub problem: Option<String>,
}

/// A plan that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EditedPlanView {
    /// The plan.
    pub plan: PlanView,
    /// What was in the version before and is not in it any more.
    pub dropped: Vec<String>,
}

/// A version of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanVersionView {
    /// Its number, from 1.
    pub version: u64,
    /// When it was written.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// The document.
    pub text: String,
}

/// Something about a plan that somebody should know before it is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanFindingView {
    /// Whether a run would be held up by it.
    pub is_error: bool,
    /// Where in the document, as in `groups[1].pre[0].script`; the VM, where a run is looked at; empty for all of it.
    pub path: String,
    /// What it is.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Runs a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunPlan {
    /// test, planned or unplanned.
    pub kind: String,
    /// The moment of the replicas: latest, latest-application, a time, a checkpoint's name. A planned failover has no choice.
    #[serde(default = "latest")]
    pub point: String,
    /// failover or failback, where it must be that.
    #[serde(default)]
    pub direction: Option<String>,
    /// Who wants it.
    #[serde(default)]
    pub operator: Option<String>,
}

fn latest() -> String {
    "latest".to_owned()
}

/// What a run can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanCommand {
    /// Nothing more begins.
    Pause,
    /// It goes on.
    Resume,
    /// It goes on without a step.
    Skip,
    /// A step is done again.
    Retry,
    /// A step is done.
    Confirm,
    /// It ends.
    Cancel,
    /// What a test made is removed; what a planned failover shut down and did not hand over is started again.
    Cleanup,
    /// The VMs stay.
    Commit,
    /// They are replicated back.
    Reprotect,
}

/// Tells a run something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TellPlanRun {
    /// What.
    pub command: PlanCommand,
    /// The step that is meant, by its number.
    #[serde(default)]
    pub step: Option<u32>,
    /// What was seen, or why.
    #[serde(default)]
    pub note: Option<String>,
    /// Who says so.
    #[serde(default)]
    pub operator: Option<String>,
}

/// What a run would do, and what stands in its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanPreviewView {
    /// The run, as it would be.
    pub run: PlanRunView,
    /// What stands in its way.
    pub findings: Vec<PlanFindingView>,
}

/// A run of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanRunView {
    /// The run.
    #[schema(value_type = String)]
    pub id: PlanRunId,
    /// The plan's name.
    pub plan: String,
    /// Which version of it.
    pub plan_version: u64,
    /// test, planned or unplanned.
    pub kind: String,
    /// failover or failback.
    pub direction: String,
    /// The moment of the replicas that was asked for.
    pub point: String,
    /// Who wanted it.
    pub operator: String,
    /// running, pausing, paused, needs-answer, failed, cancelling, cancelled, recovered, cleaned-up, committed or reprotected.
    pub standing: String,
    /// The commands that bring it on now.
    pub ways_on: Vec<String>,
    /// The steps that wait for a person, or hold it up.
    pub questions: Vec<u32>,
    /// When it began.
    #[schema(value_type = String)]
    pub begun_at: Timestamp,
    /// When the VMs were up.
    #[schema(value_type = Option<String>)]
    pub recovered_at: Option<Timestamp>,
    /// How long that took, in seconds.
    pub rto_seconds: Option<u64>,
    /// How long it should take at most.
    pub rto_target_seconds: Option<u64>,
    /// How old the oldest moment was that a VM came up from when the run began, in seconds.
    pub rpo_seconds: Option<u64>,
    /// How old it should be at most.
    pub rpo_target_seconds: Option<u64>,
    /// The job that carries it out, or did so last.
    #[schema(value_type = Option<String>)]
    pub job_id: Option<JobId>,
    /// What is done, one wave after the other.
    pub waves: Vec<PlanWaveView>,
    /// Its VMs, by name.
    pub vms: Vec<PlanVmView>,
    /// What actions have set.
    pub variables: BTreeMap<String, String>,
}

/// Lanes side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanWaveView {
    /// What it is.
    pub title: String,
    /// Its lanes.
    pub lanes: Vec<PlanLaneView>,
}

/// Steps one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanLaneView {
    /// The VM that all of them are for.
    pub vm: Option<String>,
    /// The steps.
    pub steps: Vec<PlanStepView>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanStepView {
    /// Its number.
    pub id: u32,
    /// What it does.
    pub title: String,
    /// waiting, running, stopping, retrying, at-hand, asking, done, passed-over, failed, skipped, left-out or cancelled.
    pub state: String,
    /// What there is to say of that.
    pub why: Option<String>,
    /// What a person is to do.
    pub instructions: Option<String>,
    /// The newest attempts that have ended, oldest first.
    pub attempts: Vec<PlanAttemptView>,
}

/// One time that a step was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanAttemptView {
    /// Which one, from 1.
    pub number: u32,
    /// When it began.
    #[schema(value_type = String)]
    pub began_at: Timestamp,
    /// When its end was known.
    #[schema(value_type = String)]
    pub ended_at: Timestamp,
    /// Why it failed.
    pub failure: Option<String>,
    /// How its program ended.
    pub exit_code: Option<i32>,
    /// The end of what it wrote.
    pub text: String,
}

/// What a run knows of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanVmView {
    /// Its name where it comes from.
    pub name: String,
    /// The VM that came up for it.
    #[schema(value_type = Option<String>)]
    pub vm_id: Option<VmId>,
    /// What that is called.
    pub vm_name: Option<String>,
    /// The moment that it was made from, by the clock of its site.
    #[schema(value_type = Option<String>)]
    pub moment_at: Option<Timestamp>,
    /// Its addresses, as far as they are known.
    pub addresses: Vec<String>,
}
