//! What each kind of step does. Each asks how things are before it does anything, so that it may be done again.

mod action;
mod addresses;
mod bring_up;
mod gate;
mod planned;

use std::{sync::Arc, time::Duration};

use api::{Code, Problem, StartReplication};
use catalog::{Job, KnownVm};
use futures::StreamExt as _;
use model::{JobKind, JobState, PlanRunId, VmName};
use plan::{ActionWork, Outcome, Output, Run, Sites, Step, VmFacts, Where, Work};
use runbook::Log;
use tokio_util::sync::CancellationToken;

pub(crate) use self::bring_up::test_name;
use super::{check, command::first_error};
use crate::{
    failure::{Failure, Result},
    peers, replicas, replications,
    site::Site,
    vms, work,
};

/// How often it is looked how something is that nobody tells.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// An attempt of a step.
pub(super) struct Order {
    pub(super) site: Site,
    pub(super) run_id: PlanRunId,
    /// The run as it was when the attempt began.
    pub(super) run: Arc<Run>,
    pub(super) step: Step,
    pub(super) sites: Sites,
    /// What is written meanwhile.
    pub(super) log: Log,
}

/// Does the work of a step until it has ended, or is to be ended.
pub(super) async fn carry_out(order: Order, stop: CancellationToken) -> Outcome {
    let outcome = stop.run_until_cancelled(work_of(&order)).await;
    if let Some(outcome) = outcome {
        return outcome;
    }
    if let Work::Act(action) = &order.step.work
        && matches!(action.work(), Some(ActionWork::Runbook(call)) if call.site == Where::Source)
    {
        return Outcome::Unknown {
            why: "the other site was told to end it, and has not said so yet".to_owned(),
        };
    }
    if matches!(order.step.work, Work::Act(_)) {
        // A program that was given up has so long to end before it is killed.
        tokio::time::sleep(runbook::Program::GRACE_DEFAULT + Duration::from_secs(1)).await;
    }
    let text = order.log.text();
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    let why = match last {
        Some(last) => format!("it was ended; the last of it: {last}"),
        None => "it was ended".to_owned(),
    };
    Outcome::Failed { why, output: Output { text, ..Output::default() } }
}

async fn work_of(order: &Order) -> Outcome {
    let Order { site, run, step, .. } = order;
    let done = match &step.work {
        Work::Check => check(site, run).await,
        Work::ShutDown(vm) => planned::shut_down(site, vm).await,
        Work::Drain(vm) => planned::drain(site, vm).await,
        Work::BringUp(vm) => bring_up::bring_up(order, vm).await,
        Work::SetAddresses(vm, attachments) => {
            let up = up_vm(order, vm).await;
            match up {
                Ok(up) => addresses::set(site, &up, attachments, &order.log).await,
                Err(failure) => Err(failure),
            }
        }
        Work::Gate(vm, gate) => return gate::wait(order, vm, gate).await,
        Work::Act(action) => return action::carry_out(order, action).await,
        Work::TakeDown(vm) => take_down(order, vm).await,
        Work::StartAgain(vm) => planned::start_again(site, vm).await,
        Work::Commit(vm) => commit(site, vm).await,
        Work::Reprotect(vm) => reprotect(order, vm).await,
    };
    match done {
        Ok(output) => Outcome::Succeeded(output),
        Err(failure) => Outcome::Failed { why: told(&failure), output: Output::default() },
    }
}

/// A failure in a line, with what to do about it.
fn told(failure: &Failure) -> String {
    match failure.hint() {
        Some(hint) => format!("{} ({hint})", failure.detail()),
        None => failure.detail().to_owned(),
    }
}

/// How often it is tried again what another one's short work on a VM holds up.
const BUSY_LOOKS: u32 = 60;

/// Does what needs the VM for itself, once nobody else has it.
async fn once_free<T, F: Future<Output = Result<T>>>(mut work: impl FnMut() -> F) -> Result<T> {
    for _ in 0..BUSY_LOOKS {
        match work().await {
            Err(failure) if failure.code() == Code::Conflict => {
                tracing::debug!(reason = failure.detail(), "a step waits for its VM");
            }
            done => return done,
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    work().await
}

fn output(text: impl Into<String>) -> Output {
    Output { text: text.into(), ..Output::default() }
}

async fn check(site: &Site, run: &Run) -> Result<Output> {
    let findings = check::of_run(site, run).await?;
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    match first_error(&findings) {
        None => Ok(output(lines.join("\n"))),
        Some(finding) => {
            let failure = Failure::conflict(lines.join("; "));
            Err(match &finding.hint {
                Some(hint) => failure.with_hint(hint.clone()),
                None => failure,
            })
        }
    }
}

/// Waits until a job has ended.
async fn finish(site: &Site, job: Job) -> Result<Job> {
    let mut last = job.clone();
    let mut states = std::pin::pin!(site.jobs.follow(job).await?);
    while let Some(job) = states.next().await {
        last = job;
    }
    match last.state {
        JobState::Succeeded => Ok(last),
        state => {
            let problem: Option<Problem> =
                last.problem.clone().and_then(|problem| serde_json::from_value(problem).ok());
            let failure = match problem {
                Some(problem) => {
                    let failure = Failure::new(problem.code, problem.detail);
                    match problem.hint {
                        Some(hint) => failure.with_hint(hint),
                        None => failure,
                    }
                }
                None => Failure::new(api::Code::Failed, format!("it {state}")),
            };
            Err(failure.during(&format!("job {}", last.id)))
        }
    }
}

fn facts<'order>(order: &'order Order, vm: &VmName) -> Result<&'order VmFacts> {
    let facts = order.run.vms().get(vm);
    facts.ok_or_else(|| Failure::not_found(format!("the VM {vm} is not in the run")))
}

/// The VM that came up.
async fn up_vm(order: &Order, vm: &VmName) -> Result<KnownVm> {
    match facts(order, vm)?.vm_id {
        Some(id) => vms::find(&order.site, id.as_str()).await,
        // Somebody has confirmed that it is up, and knows by what name.
        None => vms::find(&order.site, vm.as_str()).await,
    }
}

/// Removes the VM of a test, if there is one.
async fn take_down(order: &Order, vm: &VmName) -> Result<Output> {
    let name = test_name(order.run_id, vm);
    let known = facts(order, vm)?.up_as.as_deref().unwrap_or(&name);
    let verdict = format!("test of the plan {}", order.run.plan);
    for job in order.site.jobs.unfinished() {
        if job.kind == JobKind::TestFailover && job.subject == name {
            // Whoever waited for it is gone. What is being made can be removed only once it is made.
            let job = order.site.jobs.cancel(job.clone()).await.unwrap_or(job);
            let _ = finish(&order.site, job).await; // whatever came of it is looked for below
        }
    }
    let tests = order.site.catalog.failover_tests().await?;
    let is_left = |test: &&catalog::FailoverTest| {
        test.cleaned_up_at.is_none() && (test.vm_name.as_str() == known || test.vm_name.as_str() == name)
    };
    let Some(test) = tests.iter().find(is_left) else { return Ok(output("there was nothing of it")) };
    let (site, id) = (&order.site, test.vm_id.to_string());
    once_free(|| work::clean_up_tests(site, &id, Some(&verdict))).await?;
    Ok(output(""))
}

async fn commit(site: &Site, vm: &VmName) -> Result<Output> {
    work::commit(site, vm.as_str()).await?;
    Ok(output(""))
}

/// Replicates a VM that was committed back to where it came from.
async fn reprotect(order: &Order, vm: &VmName) -> Result<Output> {
    let site = &order.site;
    let up = up_vm(order, vm).await?;
    let replica = replicas::find(site, vm.as_str()).await?;
    let peer = peers::find(site, replica.peer_id.as_str()).await?;
    if let Some(known) = site.catalog.replication(up.id).await?
        && known.fenced.is_none()
    {
        return Ok(output(format!("it is replicated to {} already", known.peer_name)));
    }
    let request = StartReplication {
        to: peer.id.to_string(),
        retention_hours: None,
        interval_seconds: None,
        application_every_seconds: None,
        rate_limit_bytes_per_second: None,
        rate_windows: Vec::new(),
        journal_size_bytes: None,
        seed: None,
        as_before: true,
    };
    replications::start(site, &up, request).await?;
    Ok(output(format!("to {}", peer.name)))
}
