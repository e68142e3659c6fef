//! Who carries a run out. What the machine says is done only once the run is kept.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use api::JobResult;
use catalog::{Job, KnownPlanRun};
use model::JobKind;
use plan::{Act, Command, Event, Outcome, Output, Run, Site as ContextSite, Sites, Standing, StepId, Told};
use protection::Monitor as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    command::refused,
    steps::{self, Order},
    view,
};
use crate::{
    drills,
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome as JobOutcome, WorkFailure},
    site::Site,
};

/// Somebody tells a run something, and waits for what becomes of it.
pub(super) struct Asked {
    pub(super) command: Command,
    pub(super) answer: oneshot::Sender<Result<()>>,
}

/// An attempt that is under way.
struct UnderWay {
    attempt: u32,
    stop: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

type Ended = (StepId, u32, Outcome);

struct Runner {
    site: Site,
    known: KnownPlanRun,
    run: Run,
    sites: Sites,
    asked: mpsc::UnboundedReceiver<Asked>,
    ended: (mpsc::UnboundedSender<Ended>, mpsc::UnboundedReceiver<Ended>),
    under_way: BTreeMap<StepId, UnderWay>,
}

/// Keeps a run durably.
pub(super) async fn keep(site: &Site, known: KnownPlanRun, run: &Run) -> Result<KnownPlanRun> {
    let standing = run.standing();
    let known = KnownPlanRun {
        standing: standing.as_str().to_owned(),
        // A drill is over once its report is kept.
        is_over: standing.is_over() && !run.is_drill,
        changed_at: site.env.clock.now(),
        document: run.encode(),
        ..known
    };
    site.catalog.put_plan_run(&known).await?;
    Ok(known)
}

/// Lines up that a run, which is kept, is carried out.
pub(super) async fn submit(site: &Site, known: KnownPlanRun, run: Run, told: Vec<Told>) -> Result<Job> {
    let (asked_at, asked) = mpsc::unbounded_channel();
    let (kind, subject) = match run.is_drill {
        true => (JobKind::Drill, run.plan.clone()),
        false => (JobKind::RunPlan, format!("{}: {} {}", run.plan, run.kind, run.direction)),
    };
    let draft = JobDraft {
        kind,
        subject,
        vm_id: None,
        vault_id: None,
        request: serde_json::json!({ "run": known.id }),
    };
    let id = known.id;
    let sites = sites(site, &run).await?;
    site.plans.admit(id, asked_at);
    let ended = mpsc::unbounded_channel();
    let runner = Runner { site: site.clone(), known, run, sites, asked, ended, under_way: BTreeMap::new() };
    let work = Box::new(move |monitor| Box::pin(async move { runner.live(told, monitor).await }) as _);
    let job = site.jobs.submit(draft, work).await;
    job.inspect_err(|_| site.plans.forget(id))
}

/// Where the VMs of a run come from and come up.
async fn sites(site: &Site, run: &Run) -> Result<Sites> {
    let replicas = site.catalog.replicas().await?;
    let of_run = replicas.iter().filter(|replica| run.vms().contains_key(&replica.vm_name));
    let ids: std::collections::BTreeSet<_> = of_run.map(|replica| replica.peer_id).collect();
    let peers = site.catalog.peers().await?;
    let sources = peers.iter().filter(|peer| ids.contains(&peer.id));
    let of = |id: String, name: String| ContextSite { id, name };
    Ok(Sites {
        sources: sources.map(|peer| of(peer.id.to_string(), peer.name.to_string())).collect(),
        target: of(site.peers.identity().id().to_string(), site.peers.name().to_string()),
        job_id: String::new(),
    })
}

impl Runner {
    async fn live(mut self, told: Vec<Told>, monitor: Arc<JobMonitor>) -> JobOutcome {
        self.known.job_id = Some(monitor.job_id());
        self.sites.job_id = monitor.job_id().to_string();
        let lived = self.live_on(told, &monitor).await;
        let drill = match lived {
            Ok(()) if self.run.is_drill => Some(drills::conclude(&self.site, &self.known, &self.run).await),
            _ => None,
        };
        // Whoever asks from now on finds nobody, and reads what was kept.
        self.site.plans.forget(self.known.id);
        lived?;
        match drill {
            Some(drill) => drill_outcome(drill?),
            None => self.outcome(&monitor),
        }
    }

    async fn live_on(&mut self, told: Vec<Told>, monitor: &JobMonitor) -> Result<()> {
        self.known = keep(&self.site, self.known.clone(), &self.run).await?;
        self.carry_out(told);
        let mut is_cancelled = false;
        loop {
            monitor.phase(self.phase());
            if let Some(command) = self.drill_on() {
                if command == Command::CleanUp {
                    monitor.phase("looking at the VMs");
                    drills::keep_evidence(&self.site, self.known.id, &self.run).await;
                }
                let told = self.run.command(command, self.site.env.clock.now());
                let told = told.map_err(|refusal| refused(&self.known, &self.run, &refusal))?;
                self.keep_and_carry_out(told).await?;
                continue;
            }
            let standing = self.run.standing();
            if standing.is_over() || standing == Standing::Failed {
                return Ok(());
            }
            let due = self.until_due();
            tokio::select! {
                Some((step, attempt, outcome)) = self.ended.1.recv() => {
                    self.under_way.retain(|id, under_way| *id != step || under_way.attempt != attempt);
                    self.put_in(Event::Ended { step, attempt, outcome }).await?;
                }
                Some(asked) = self.asked.recv() => self.answer(asked).await?,
                () = due => self.put_in(Event::Tick).await?,
                () = monitor.cancellation().cancelled(), if !is_cancelled => {
                    is_cancelled = true;
                    if self.site.stopping.is_cancelled() {
                        return Err(Failure::new(api::Code::Cancelled, "the server stops")
                            .with_hint("the run goes on when the server starts again"));
                    }
                    // A drill that removes what it made goes on with that.
                    if !self.run.is_drill || self.run.act() == Act::Recover {
                        self.cancel().await?;
                    }
                }
            }
        }
    }

    /// What nobody has to say to a drill.
    fn drill_on(&self) -> Option<Command> {
        self.run.is_drill.then(|| plan::drill::next(&self.run)).flatten()
    }

    /// Waits until something of the run is due.
    fn until_due(&self) -> impl Future<Output = ()> + use<> {
        // A look at the clock now and then, which may be set meanwhile.
        const LOOK_INTERVAL: Duration = Duration::from_secs(30);
        let now = self.site.env.clock.now();
        let due = self.run.due().map(|due| {
            let microseconds = u64::try_from(due.microseconds_since(now)).unwrap_or(0);
            Duration::from_micros(microseconds) + Duration::from_millis(1)
        });
        async move {
            match due {
                Some(wait) => tokio::time::sleep(wait.min(LOOK_INTERVAL)).await,
                None => std::future::pending().await,
            }
        }
    }

    async fn put_in(&mut self, event: Event) -> Result<()> {
        let told = self.run.handle(event, self.site.env.clock.now());
        self.keep_and_carry_out(told).await
    }

    async fn answer(&mut self, asked: Asked) -> Result<()> {
        match self.run.command(asked.command, self.site.env.clock.now()) {
            Ok(told) => {
                let kept = self.keep_and_carry_out(told).await;
                // One who has gone away does not mind.
                let _ = asked.answer.send(kept.clone());
                kept
            }
            Err(refusal) => {
                let _ = asked.answer.send(Err(refused(&self.known, &self.run, &refusal)));
                Ok(())
            }
        }
    }

    async fn cancel(&mut self) -> Result<()> {
        match self.run.command(Command::Cancel, self.site.env.clock.now()) {
            Ok(told) => self.keep_and_carry_out(told).await,
            Err(_) => Ok(()),
        }
    }

    async fn keep_and_carry_out(&mut self, told: Vec<Told>) -> Result<()> {
        self.known = keep(&self.site, self.known.clone(), &self.run).await?;
        self.carry_out(told);
        Ok(())
    }

    fn carry_out(&mut self, told: Vec<Told>) {
        for one in told {
            match one {
                Told::Begin { step, attempt } => self.begin(step, attempt),
                Told::Stop { step, attempt } => match self.under_way.get(&step) {
                    Some(under_way) if under_way.attempt == attempt => under_way.stop.cancel(),
                    _ => {
                        let outcome = Outcome::Failed {
                            why: "it was not under way".to_owned(),
                            output: Output::default(),
                        };
                        let _ = self.ended.0.send((step, attempt, outcome)); // this runner holds the other end
                    }
                },
            }
        }
    }

    fn begin(&mut self, id: StepId, attempt: u32) {
        let Some(step) = self.run.step(id).cloned() else { return };
        tracing::info!(plan = self.run.plan, step = %id, attempt, title = step.work.title(), "a step begins");
        let stop = CancellationToken::new();
        let order = Order {
            site: self.site.clone(),
            run_id: self.known.id,
            run: Arc::new(self.run.clone()),
            step,
            sites: self.sites.clone(),
            log: runbook::Log::default(),
        };
        let (ended, stopped) = (self.ended.0.clone(), stop.clone());
        let task = tokio::spawn(async move {
            // A task of its own, so that a defect ends the step and nothing else.
            let work = AbortOnDropHandle::new(tokio::spawn(steps::carry_out(order, stopped)));
            let outcome = work.await.unwrap_or_else(|_| Outcome::Unknown {
                why: "a defect of Holdfast ended it; see the server's log".to_owned(),
            });
            let _ = ended.send((id, attempt, outcome)); // a runner that is gone needs not be told
        });
        self.under_way.insert(id, UnderWay { attempt, stop, _task: AbortOnDropHandle::new(task) });
    }

    /// What the run does now, in a line.
    fn phase(&self) -> String {
        let titles = |is_it: fn(&plan::StepState) -> bool| {
            let steps = self.run.steps().filter(|step| is_it(&step.state));
            let titles: Vec<_> = steps.map(|step| format!("{} {}", step.id, step.work.title())).collect();
            titles.join(", ")
        };
        let (done, all) = self.run.progress();
        match self.run.standing() {
            Standing::NeedsAnswer => {
                format!(
                    "{done} of {all} steps; waits for an answer: {}",
                    titles(plan::StepState::is_question)
                )
            }
            Standing::Running => format!("{done} of {all} steps; {}", titles(plan::StepState::is_active)),
            other => format!("{done} of {all} steps; {other}"),
        }
    }

    fn outcome(self, monitor: &JobMonitor) -> JobOutcome {
        let view = view::run_view(&self.known, &self.run);
        for step in self.run.steps() {
            if let plan::StepState::PassedOver { why } = &step.state {
                monitor.warn(format!("{}: {why}", step.work.title()));
            }
        }
        let plan = api::shell_word(self.known.plan.as_str());
        let result = JobResult::PlanRun(Box::new(view));
        let failure = match self.run.standing() {
            Standing::Failed => {
                let failed = self.run.questions().map(|step| {
                    let (_, why) = view::state(&step.state);
                    format!("step {}, {}: {}", step.id, step.work.title(), why.unwrap_or_default())
                });
                let failed: Vec<_> = failed.collect();
                let step = self.run.questions().next().map_or(0, |step| step.id.0);
                Failure::new(api::Code::Failed, failed.join("; ")).with_hint(format!(
                    "mend it, then: holdfast plan retry {plan} {step}, or go on without it: holdfast plan skip {plan} {step}"
                ))
            }
            Standing::Cancelled => {
                let ways = self.run.ways_on().join(", ");
                Failure::new(api::Code::Cancelled, "the run was cancelled")
                    .with_hint(format!("what can be done now: {ways}; see holdfast plan status {plan}"))
            }
            _ => return Ok(result),
        };
        Err(WorkFailure { failure, result: Some(Box::new(result)) })
    }
}

/// A drill that does not pass is a job that fails.
fn drill_outcome(drill: api::DrillView) -> JobOutcome {
    let (plan, verdict) = (drill.plan.clone(), drill.verdict.clone());
    let reasons = drill.reasons.join("; ");
    let result = JobResult::Drilled(Box::new(drill));
    let (code, detail) = match verdict.as_str() {
        "passed" | "passed-late" => return Ok(result),
        "cancelled" => (api::Code::Cancelled, "the drill was cancelled".to_owned()),
        _ => (api::Code::Failed, format!("the drill failed: {reasons}")),
    };
    let failure =
        Failure::new(code, detail).with_hint(format!("see all of it: holdfast drill report {plan}"));
    Err(WorkFailure { failure, result: Some(Box::new(result)) })
}
