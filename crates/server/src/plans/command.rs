//! Runs begin, are told something, and go on after a restart.

use api::{PlanCommand, PlanPreviewView, PlanRunView, RunPlan, TellPlanRun, shell_word};
use catalog::{Job, KnownPlanRun};
use model::{MomentSelector, PlanRunId};
use plan::{Begin, Command, Event, Kind, Run, Severity, Standing, StepId, Told};
use tokio::sync::oneshot;

use super::{
    check,
    edit::{direction_to, find},
    runner,
    share::check_accepted,
    view,
};
use crate::{
    failure::{Failure, Result},
    replicas::groups,
    site::Site,
    work,
};

/// The runs of a plan that are looked at.
const RUNS_SHOWN: u32 = 100;

/// The longest note, in bytes.
const NOTE_MAX_BYTES: usize = 4096;

/// Lays a run out.
async fn lay_out(site: &Site, name: &str, request: &RunPlan) -> Result<Run> {
    let (known, document) = find(site, name).await?;
    check_accepted(&known)?;
    let kind = match request.kind.as_str() {
        "test" => Kind::Test,
        "planned" => Kind::Planned,
        "unplanned" => Kind::Unplanned,
        other => return Err(Failure::invalid(format!("{other:?} is none of test, planned and unplanned"))),
    };
    let direction = direction_to(site, known.primary_site);
    if let Some(wanted) = request.direction.as_deref().filter(|wanted| *wanted != direction.as_str()) {
        let detail = format!("at this site the plan {name} is run for a {direction}, not for a {wanted}");
        return Err(Failure::conflict(detail).with_hint("run it at the other site"));
    }
    let begin = Begin {
        plan: known.name.to_string(),
        plan_version: known.version,
        kind,
        direction,
        point: fixed(site, &request.point).await?,
        operator: request.operator.clone().unwrap_or_else(|| "unknown".to_owned()),
    };
    let mut run = Run::begin(&document, begin, site.env.clock.now());
    run.is_newest = work::moment_selector(&request.point)?.is_newest();
    Ok(run)
}

/// The moment that is meant; of those that a group shares the one that is it now, so that all VMs come up from the same.
async fn fixed(site: &Site, point: &str) -> Result<String> {
    let MomentSelector::Shared { group, moment } = work::moment_selector(point)? else {
        return Ok(point.to_owned());
    };
    let known = groups::find(site, &group).await?;
    let members = groups::members(site, &known).await?;
    let shared = groups::choose(site, &known, &members, &moment).await?;
    let moment = Box::new(MomentSelector::Sequence(shared.number));
    Ok(MomentSelector::Shared { group, moment }.to_string())
}

/// What a run would do, and what stands in its way.
pub(crate) async fn preview(site: &Site, name: &str, request: RunPlan) -> Result<PlanPreviewView> {
    let run = lay_out(site, name, &request).await?;
    let findings = check::of_run(site, &run).await?;
    let known = new_run(site, &run)?;
    Ok(PlanPreviewView {
        run: view::run_view(&known, &run),
        findings: findings.into_iter().map(view::finding_view).collect(),
    })
}

/// Begins a run. It is kept when this returns.
pub(crate) async fn begin(site: &Site, name: &str, request: RunPlan) -> Result<PlanRunView> {
    let run = lay_out(site, name, &request).await?;
    start(site, run).await.map(|(view, _)| view)
}

/// Begins a drill. It is kept when this returns, and its job removes what it makes.
pub(crate) async fn begin_drill(site: &Site, name: &str, request: RunPlan) -> Result<Job> {
    let mut run = lay_out(site, name, &request).await?;
    run.is_drill = true;
    start(site, run).await.map(|(_, job)| job)
}

async fn start(site: &Site, mut run: Run) -> Result<(PlanRunView, Job)> {
    let known = new_run(site, &run)?;
    let _gate = site.plans.gate.lock().await;
    check_free(site, &run, known.id).await?;
    let told = run.handle(Event::Tick, site.env.clock.now());
    tracing::warn!(plan = run.plan, kind = %run.kind, direction = %run.direction, "a recovery plan is run");
    launch(site, known, run, told).await
}

fn new_run(site: &Site, run: &Run) -> Result<KnownPlanRun> {
    Ok(KnownPlanRun {
        id: PlanRunId::from_random(env::random(&*site.env.entropy)),
        plan: run.plan.parse().map_err(|error| Failure::invalid(format!("the plan's name: {error}")))?,
        standing: run.standing().as_str().to_owned(),
        is_over: false,
        job_id: None,
        begun_at: run.begun_at,
        changed_at: run.begun_at,
        document: String::new(),
    })
}

/// Refuses a run of which a VM is in another one that is not over, and a drill of a plan that is run.
async fn check_free(site: &Site, run: &Run, id: PlanRunId) -> Result<()> {
    for other in site.catalog.unfinished_plan_runs().await? {
        if other.id == id {
            continue;
        }
        let theirs = read(&other)?;
        let what = if theirs.is_drill { "drill" } else { "run" };
        let (plan, standing) = (&other.plan, &other.standing);
        let detail = match run.vms().keys().find(|vm| theirs.vms().contains_key(*vm)) {
            Some(vm) => format!(
                "the VM {vm} is in the {what} {} of the plan {plan} too, which is {standing}",
                other.id
            ),
            None if run.is_drill && run.plan == theirs.plan => {
                format!("the {what} {} of the plan {plan} is {standing}", other.id)
            }
            None => continue,
        };
        return Err(Failure::conflict(detail)
            .with_hint(format!("wait until it is over, or end it: holdfast plan cancel {plan}")));
    }
    Ok(())
}

async fn launch(site: &Site, known: KnownPlanRun, run: Run, told: Vec<Told>) -> Result<(PlanRunView, Job)> {
    let known = runner::keep(site, known, &run).await?;
    let job = runner::submit(site, known.clone(), run.clone(), told).await?;
    Ok((view::run_view(&KnownPlanRun { job_id: Some(job.id), ..known }, &run), job))
}

/// Whether a run is a drill.
pub(crate) fn is_drill(known: &KnownPlanRun) -> bool {
    read(known).is_ok_and(|run| run.is_drill)
}

/// A run as it was kept.
pub(super) fn read(known: &KnownPlanRun) -> Result<Run> {
    Run::decode(&known.document).map_err(|error| {
        Failure::new(api::Code::Damaged, format!("the run {} of {}: {error}", known.id, known.plan))
    })
}

/// The run with this id, or the newest of the plan with this name.
async fn find_run(site: &Site, name: &str) -> Result<KnownPlanRun> {
    if let Some(known) = site.catalog.plan_run(name).await? {
        return Ok(known);
    }
    let newest = site.catalog.plan_runs(name, 1).await?.pop();
    newest.ok_or_else(|| {
        Failure::not_found(format!("there is no run {name}, and none of a plan of that name"))
            .with_hint("see plans with: holdfast plan list")
    })
}

/// The runs of a plan, newest first.
pub(crate) async fn runs(site: &Site, name: &str) -> Result<Vec<PlanRunView>> {
    let known = site.catalog.plan_runs(name, RUNS_SHOWN).await?;
    known.iter().map(|known| Ok(view::run_view(known, &read(known)?))).collect()
}

/// One run.
pub(crate) async fn show_run(site: &Site, name: &str) -> Result<PlanRunView> {
    let known = find_run(site, name).await?;
    Ok(view::run_view(&known, &read(&known)?))
}

/// Tells a run something. Where nobody carries it out, somebody does from then on.
pub(crate) async fn command(site: &Site, name: &str, request: TellPlanRun) -> Result<PlanRunView> {
    let known = find_run(site, name).await?;
    let command = command_of(&request)?;
    for _ in 0..2 {
        let Some(asked_at) = site.plans.asked_at(known.id) else { break };
        let (answer, answered) = oneshot::channel();
        let asked = runner::Asked { command: command.clone(), answer };
        // One that is about to end takes nothing any more.
        if asked_at.send(asked).is_ok()
            && let Ok(answer) = answered.await
        {
            answer?;
            let known = find_run(site, known.id.as_str()).await?;
            return Ok(view::run_view(&known, &read(&known)?));
        }
        tokio::task::yield_now().await;
    }
    let _gate = site.plans.gate.lock().await;
    let known = find_run(site, known.id.as_str()).await?;
    let mut run = read(&known)?;
    if site.plans.asked_at(known.id).is_some() {
        return Err(Failure::conflict("the run is being told something else").with_hint("ask again"));
    }
    let now = site.env.clock.now();
    let mut told = run.handle(Event::Restarted, now);
    told.extend(run.command(command, now).map_err(|refusal| refused(&known, &run, &refusal))?);
    if run.standing().is_at_rest() && told.is_empty() {
        let known = runner::keep(site, known, &run).await?;
        return Ok(view::run_view(&known, &run));
    }
    check_free(site, &run, known.id).await?;
    launch(site, known, run, told).await.map(|(view, _)| view)
}

fn command_of(request: &TellPlanRun) -> Result<Command> {
    let note = request.note.clone().unwrap_or_default();
    if note.len() > NOTE_MAX_BYTES {
        return Err(Failure::invalid(format!("a note has at most {NOTE_MAX_BYTES} bytes")));
    }
    let by = request.operator.as_deref().unwrap_or("unknown");
    let note = if note.is_empty() { by.to_owned() } else { format!("{by}: {note}") };
    let step = request.step.map(StepId);
    let step = || {
        step.ok_or_else(|| {
            Failure::invalid("which step is meant?").with_hint("see their numbers: holdfast plan status")
        })
    };
    Ok(match request.command {
        PlanCommand::Pause => Command::Pause,
        PlanCommand::Resume => Command::Resume,
        PlanCommand::Skip => Command::Skip { step: step()?, note },
        PlanCommand::Retry => Command::Retry { step: step()? },
        PlanCommand::Confirm => Command::Confirm { step: step()?, note },
        PlanCommand::Cancel => Command::Cancel,
        PlanCommand::Cleanup => Command::CleanUp,
        PlanCommand::Commit => Command::Commit,
        PlanCommand::Reprotect => Command::Reprotect,
    })
}

pub(super) fn refused(known: &KnownPlanRun, run: &Run, refusal: &plan::Refusal) -> Failure {
    let plan = shell_word(known.plan.as_str());
    let hint = match run.ways_on().first() {
        Some(way) => format!("{}; what can be done now: holdfast plan {way} {plan}", refusal.instead),
        None => format!("{}: holdfast plan status {plan}", refusal.instead),
    };
    Failure::conflict(refusal.to_string()).with_hint(hint)
}

/// Goes on with what a dead server left: everything but what has failed and waits for somebody.
pub(crate) async fn go_on(site: &Site) -> Result<()> {
    let _gate = site.plans.gate.lock().await;
    for known in site.catalog.unfinished_plan_runs().await? {
        let mut run = match read(&known) {
            Ok(run) => run,
            Err(failure) => {
                tracing::error!(reason = failure.detail(), "a run of a plan cannot be gone on with");
                continue;
            }
        };
        let told = run.handle(Event::Restarted, site.env.clock.now());
        let known = runner::keep(site, known, &run).await?;
        if run.standing() == Standing::Failed && !run.is_drill {
            continue;
        }
        tracing::warn!(plan = %known.plan, run = %known.id, "a run of a plan goes on");
        runner::submit(site, known, run, told).await?;
    }
    Ok(())
}

/// Whether anything of a list stands in the way.
pub(super) fn first_error(findings: &[plan::Finding]) -> Option<&plan::Finding> {
    findings.iter().find(|finding| finding.severity == Severity::Error)
}
