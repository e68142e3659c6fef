//! A runbook runs once, by itself, to see whether it does what it should.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use api::{Code, JobResult, RunbookTestView, TestRunbook};
use catalog::Job;
use model::JobKind;
use plan::{Action, Begin, Direction, Group, Kind, Plan, Run, RunbookCall, Sites, Where};
use protection::Monitor as _;
use runbook::Log;
use tokio::time::Instant;

use super::document_of;
use crate::{
    actions::{self, Told},
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome, WorkFailure},
    runbooks,
    site::Site,
};

/// What the plan is called that the context speaks of.
const SAMPLE: &str = "sample";

/// Lines up the test of a runbook.
pub(crate) async fn submit(site: &Site, name: &str, request: TestRunbook) -> Result<Job> {
    // What can be wrong with the parameters is said at once.
    let (action, _) = runbooks::filled(site, name, &request.parameters).await?;
    let draft = JobDraft {
        kind: JobKind::TestRunbook,
        subject: name.to_owned(),
        vm_id: None,
        vault_id: None,
        request: document_of(&request),
    };
    let time_limit = Duration::from_secs(action.limit_seconds().unwrap_or_default());
    let (site, name) = (site.clone(), name.to_owned());
    let work_site = site.clone();
    let work = Box::new(move |monitor| {
        Box::pin(async move { work(&work_site, name, request, time_limit, monitor).await }) as _
    });
    site.jobs.submit(draft, work).await
}

async fn work(
    site: &Site,
    name: String,
    request: TestRunbook,
    time_limit: Duration,
    monitor: Arc<JobMonitor>,
) -> Outcome {
    monitor.phase("running the runbook");
    let call = RunbookCall { name: name.clone(), parameters: request.parameters, site: Where::Target };
    let action = Action { runbook: Some(call), ..Action::named(&name) };
    let told = sample(site, &action, request.dry_run, time_limit).await?;
    let (log, begun_at) = (Log::default(), Instant::now());
    let performed = actions::perform(site, &action, &told, &log);
    let performed = monitor.cancellation().run_until_cancelled(performed).await;
    let Some(outcome) = performed else { return Err(Failure::new(Code::Cancelled, "cancelled").into()) };
    let duration_ms = u64::try_from(begun_at.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (failure, output) = match outcome {
        plan::Outcome::Succeeded(output) => (None, output),
        plan::Outcome::Failed { why, output } => (Some(why), output),
        plan::Outcome::Unknown { why } => (Some(why), plan::Output::default()),
    };
    let result = JobResult::RunbookTested(Box::new(RunbookTestView {
        name: name.clone(),
        failure: failure.clone(),
        exit_code: output.exit_code,
        output: log.text(),
        variables: output.variables,
        duration_ms,
    }));
    match failure {
        None => Ok(result),
        Some(why) => {
            let failure = Failure::new(Code::Failed, format!("the runbook {name} failed: {why}"));
            Err(WorkFailure { failure, result: Some(Box::new(result)) })
        }
    }
}

/// What an action is told that belongs to no plan. The VMs of the site are its guests.
async fn sample(site: &Site, action: &Action, is_dry_run: bool, time_limit: Duration) -> Result<Told> {
    let group =
        Group { name: SAMPLE.to_owned(), pre: vec![action.clone()], vms: Vec::new(), post: Vec::new() };
    let plan = Plan {
        version: 1,
        description: None,
        rto_seconds: None,
        rpo_seconds: None,
        failback_order: plan::FailbackOrder::default(),
        groups: vec![group],
        after_cleanup: Vec::new(),
    };
    let begin = Begin {
        plan: SAMPLE.to_owned(),
        plan_version: 1,
        kind: Kind::Test,
        direction: Direction::Failover,
        point: "latest".to_owned(),
        operator: "runbook test".to_owned(),
    };
    let run = Run::begin(&plan, begin, site.env.clock.now());
    let is_action = |step: &&plan::Step| matches!(step.work, plan::Work::Act(_));
    let step = run.steps().find(is_action).ok_or_else(|| Failure::invalid("there is nothing to do in it"))?;
    let sites = Sites::default();
    let vms = site.catalog.vms().await?;
    let guests: BTreeMap<_, _> = vms.into_iter().map(|vm| (vm.name.to_string(), vm.id)).collect();
    Ok(Told {
        context: plan::context(&run, step, &sites, is_dry_run),
        environment: plan::environment(&run, step, &sites, is_dry_run),
        time_limit,
        guests,
    })
}
