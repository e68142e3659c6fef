//! What an action is told: `RecoveryPlanContext` of Azure Site Recovery, with the same field names, and more.

use serde_json::{Map, Value, json};

use crate::{ActionWork, Direction, Kind, Run, Step, Work};

/// A site, for whoever carries out a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// Where the VMs come from and where they come up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sites {
    /// Where they come from; several where the VMs do.
    pub sources: Vec<Site>,
    /// Where they come up.
    pub target: Site,
    /// The job that carries out the run.
    pub job_id: String,
}

/// What an action is told: the fields of `RecoveryPlanContext`, and beside them what that lacks.
#[must_use]
pub fn context(run: &Run, step: &Step, sites: &Sites, is_dry_run: bool) -> Value {
    let vms: Map<String, Value> = run
        .vms()
        .iter()
        .map(|(name, facts)| {
            let key = facts.vm_id.map_or_else(|| name.to_string(), |id| id.to_string());
            let vm = json!({
                "SubscriptionId": sites.target.id,
                "ResourceGroupName": sites.target.name,
                "CloudServiceName": sites.target.name,
                "RoleName": facts.up_as.as_deref().unwrap_or(name.as_str()),
                "RecoveryPointId": facts.moment_at,
                "SourceName": name,
                "GroupId": group_id(facts.group),
                "Addresses": facts.addresses,
                "IsUp": facts.vm_id.is_some(),
            });
            (key, vm)
        })
        .collect();
    let results: Map<String, Value> = run
        .steps()
        .filter_map(|done| {
            let Work::Act(action) = &done.work else { return None };
            let last = done.history.last()?;
            let result = json!({
                "Succeeded": last.failure.is_none(),
                "ExitCode": last.exit_code,
                "Failure": last.failure,
                "Output": last.text,
            });
            Some((action.name.clone(), result))
        })
        .collect();
    let group = run
        .waves()
        .iter()
        .find(|wave| wave.lanes.iter().any(|lane| lane.steps.iter().any(|other| other.id == step.id)));
    let parameters = match &step.work {
        Work::Act(action) => match action.work() {
            Some(ActionWork::Runbook(call)) => json!(call.parameters),
            Some(ActionWork::Ansible(ansible)) => json!(ansible.variables),
            _ => json!({}),
        },
        _ => json!({}),
    };
    let site = |site: &Site| json!({ "Id": site.id, "Name": site.name });
    json!({
        "RecoveryPlanName": run.plan,
        "FailoverType": failover_type(run.kind),
        "FailoverDirection": failover_direction(run.direction),
        "GroupId": group.and_then(|wave| wave.group).map(group_id),
        "VmMap": vms,
        "RecoveryPlanVersion": run.plan_version,
        "JobId": sites.job_id,
        "Operator": run.operator,
        "DryRun": is_dry_run,
        "SourceSites": sites.sources.iter().map(site).collect::<Vec<_>>(),
        "TargetSite": site(&sites.target),
        "Step": step.id,
        "ActionName": step.work.title(),
        "Attempt": step.attempts,
        "Parameters": parameters,
        "Variables": run.variables(),
        "Results": results,
    })
}

/// The names of all that [`environment`] tells.
pub const ENVIRONMENT: [&str; 9] = [
    "HOLDFAST_PLAN",
    "HOLDFAST_FAILOVER_TYPE",
    "HOLDFAST_FAILOVER_DIRECTION",
    "HOLDFAST_JOB_ID",
    "HOLDFAST_OPERATOR",
    "HOLDFAST_DRY_RUN",
    "HOLDFAST_TARGET_SITE",
    "HOLDFAST_STEP",
    "HOLDFAST_ATTEMPT",
];

/// The plain parts of the context as environment variables, by their names.
#[must_use]
pub fn environment(run: &Run, step: &Step, sites: &Sites, is_dry_run: bool) -> Vec<(&'static str, String)> {
    vec![
        ("HOLDFAST_PLAN", run.plan.clone()),
        ("HOLDFAST_FAILOVER_TYPE", failover_type(run.kind).to_owned()),
        ("HOLDFAST_FAILOVER_DIRECTION", failover_direction(run.direction).to_owned()),
        ("HOLDFAST_JOB_ID", sites.job_id.clone()),
        ("HOLDFAST_OPERATOR", run.operator.clone()),
        ("HOLDFAST_DRY_RUN", is_dry_run.to_string()),
        ("HOLDFAST_TARGET_SITE", sites.target.name.clone()),
        ("HOLDFAST_STEP", step.id.to_string()),
        ("HOLDFAST_ATTEMPT", step.attempts.to_string()),
    ]
}

fn group_id(group: u32) -> String {
    format!("Group{}", u64::from(group) + 1)
}

fn failover_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Test => "Test",
        Kind::Planned => "Planned",
        Kind::Unplanned => "Unplanned",
    }
}

fn failover_direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Failover => "PrimaryToSecondary",
        Direction::Failback => "SecondaryToPrimary",
    }
}
