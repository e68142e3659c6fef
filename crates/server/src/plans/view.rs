//! Plans and runs on the wire.

use api::{
    PlanAttemptView, PlanCopyView, PlanFindingView, PlanLaneView, PlanRunView, PlanStepView, PlanVersionView,
    PlanView, PlanVmView, PlanWaveView,
};
use catalog::{KnownPlan, KnownPlanRun};
use model::SiteId;
use plan::{ActionWork, Finding, Format, Plan, Run, Severity, Step, StepState, Work};

use crate::{failure::Result, site::Site};

/// A plan. One that this Holdfast cannot read says so in place of what it is for.
pub(crate) async fn plan_view(site: &Site, known: &KnownPlan) -> Result<PlanView> {
    let peers = site.catalog.peers().await?;
    let name_of = |id: SiteId| {
        if id == site.peers.identity().id() {
            return site.peers.name().to_string();
        }
        let peer = peers.iter().find(|peer| peer.id == id);
        peer.map_or_else(|| id.to_string(), |peer| peer.name.to_string())
    };
    let mut copies = site.catalog.plan_deliveries().await?;
    copies.retain(|copy| copy.plan == known.name && peers.iter().any(|peer| peer.id == copy.peer_id));
    let copies = copies.into_iter().map(|copy| PlanCopyView {
        site: name_of(copy.peer_id),
        version: copy.version,
        problem: copy.problem,
    });
    let document = plan::read(&known.text, Format::of(&known.text));
    let (document, unreadable) = match document {
        Ok(document) => (Some(document), None),
        Err(finding) => (None, Some(format!("it cannot be read: {finding}"))),
    };
    let of = |told: fn(&Plan) -> Vec<String>| document.as_ref().map(told).unwrap_or_default();
    Ok(PlanView {
        name: known.name.to_string(),
        version: known.version,
        written_at: known.origin.map_or_else(|| site.peers.name().to_string(), name_of),
        is_accepted: known.is_accepted,
        copies: copies.collect(),
        description: document.as_ref().and_then(|document| document.description.clone()).or(unreadable),
        groups: of(|document| document.groups.iter().map(|group| group.name.clone()).collect()),
        vms: of(|document| document.vms().map(|vm| vm.name.to_string()).collect()),
        actions: of(|document| document.actions().map(|(_, action)| action.name.clone()).collect()),
        primary_site: name_of(known.primary_site),
        changed_at: known.created_at,
        text: known.text.clone(),
    })
}

/// A version of a plan.
pub(crate) fn version_view(known: KnownPlan) -> PlanVersionView {
    PlanVersionView { version: known.version, created_at: known.created_at, text: known.text }
}

pub(super) fn finding_view(finding: Finding) -> PlanFindingView {
    PlanFindingView {
        is_error: finding.severity == Severity::Error,
        path: finding.path,
        message: finding.message,
        hint: finding.hint,
    }
}

/// A run.
pub(crate) fn run_view(known: &KnownPlanRun, run: &Run) -> PlanRunView {
    let waves = run.waves().iter().map(|wave| PlanWaveView {
        title: wave.title.clone(),
        lanes: wave
            .lanes
            .iter()
            .map(|lane| PlanLaneView {
                vm: lane.vm.as_ref().map(ToString::to_string),
                steps: lane.steps.iter().map(step_view).collect(),
            })
            .collect(),
    });
    let vms = run.vms().iter().map(|(name, facts)| PlanVmView {
        name: name.to_string(),
        vm_id: facts.vm_id,
        vm_name: facts.up_as.clone(),
        moment_at: facts.moment_at,
        addresses: facts.addresses.clone(),
    });
    let rto_seconds = run.recovered_at.map(|at| seconds(at.microseconds_since(run.begun_at)));
    let oldest = run.vms().values().filter_map(|facts| facts.moment_at).min();
    PlanRunView {
        id: known.id,
        plan: run.plan.clone(),
        plan_version: run.plan_version,
        kind: run.kind.as_str().to_owned(),
        direction: run.direction.as_str().to_owned(),
        point: run.point.clone(),
        operator: run.operator.clone(),
        standing: run.standing().as_str().to_owned(),
        ways_on: run.ways_on().into_iter().map(str::to_owned).collect(),
        questions: run.questions().map(|step| step.id.0).collect(),
        begun_at: run.begun_at,
        recovered_at: run.recovered_at,
        rto_seconds,
        rto_target_seconds: run.rto_seconds,
        rpo_seconds: oldest.map(|at| seconds(run.begun_at.microseconds_since(at))),
        rpo_target_seconds: run.rpo_seconds,
        job_id: known.job_id,
        waves: waves.collect(),
        vms: vms.collect(),
        variables: run.variables().clone(),
    }
}

fn seconds(microseconds: i64) -> u64 {
    u64::try_from(microseconds).unwrap_or(0).div_ceil(1_000_000)
}

fn step_view(step: &Step) -> PlanStepView {
    let (state, why) = state(&step.state);
    let instructions = match &step.work {
        Work::Act(action) => match action.work() {
            Some(ActionWork::Manual(manual)) => Some(manual.instructions.clone()),
            _ => None,
        },
        _ => None,
    };
    let attempts = step.history.iter().map(|attempt| PlanAttemptView {
        number: attempt.number,
        began_at: attempt.began_at,
        ended_at: attempt.ended_at,
        failure: attempt.failure.clone(),
        exit_code: attempt.exit_code,
        text: attempt.text.clone(),
    });
    PlanStepView {
        id: step.id.0,
        title: step.work.title(),
        state: state.to_owned(),
        why,
        instructions,
        attempts: attempts.collect(),
    }
}

/// A state in a word, and what there is to say of it.
pub(super) fn state(state: &StepState) -> (&'static str, Option<String>) {
    match state {
        StepState::Waiting => ("waiting", None),
        StepState::Running { .. } => ("running", None),
        StepState::Stopping { .. } => ("stopping", None),
        StepState::RetryAt { why, .. } => ("retrying", Some(why.clone())),
        StepState::AtHand { .. } => ("at-hand", None),
        StepState::Asking { why } => ("asking", Some(why.clone())),
        StepState::Done { note, .. } => ("done", note.clone()),
        StepState::PassedOver { why } => ("passed-over", Some(why.clone())),
        StepState::Failed { why } => ("failed", Some(why.clone())),
        StepState::Skipped { note } => ("skipped", Some(note.clone())),
        StepState::LeftOut { why } => ("left-out", Some(why.clone())),
        StepState::Cancelled => ("cancelled", None),
    }
}
