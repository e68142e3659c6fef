//! A run is watched until it is at rest: a line for whatever becomes of a step.

use std::{collections::BTreeMap, time::Duration};

use api::{PlanRunView, PlanStepView};
use tokio::time::{Instant, sleep};

use super::way_on;
use crate::{context::Context, exit::Exit, failure::Failure};

/// How often the run is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// How long the server may be away, as in a restart, in which runs go on.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a command that brings a run on ends.
#[derive(Debug, Default, clap::Args)]
pub struct Watch {
    /// Show the run and end; the server goes on with it.
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
    /// The longest wait, as in 90s or 2h; then the exit code is 9, and the run goes on.
    #[arg(long, value_name = "DURATION", value_parser = crate::arguments::duration)]
    timeout: Option<Duration>,
}

impl Watch {
    /// Shows what becomes of a run until it is at rest, and then all of it.
    pub async fn follow(&self, context: &Context, run: PlanRunView) -> Result<(), Failure> {
        let id = run.id;
        if self.no_wait {
            context.output.one(&run)?;
            let status = context.command(&format!("plan status {id} --watch"));
            context.note(&format!("the run goes on; watch it: {status}"));
            return Ok(());
        }
        let until = self.timeout.map(|timeout| Instant::now() + timeout);
        let mut told = Told::default();
        let mut run = run;
        loop {
            told.tell(context, &run);
            // It waits for somebody; whoever watches is told how to answer.
            if !matches!(run.standing.as_str(), "running" | "pausing" | "cancelling" | "needs-answer") {
                break;
            }
            let goes_on = |exit, what: String| {
                let status = context.command(&format!("plan status {id} --watch"));
                Err(Failure::new(exit, format!("{what}; the run goes on"))
                    .with_hint(format!("watch it: {status}")))
            };
            if until.is_some_and(|until| until <= Instant::now()) {
                let waited = self.timeout.unwrap_or_default();
                return goes_on(Exit::TimedOut, format!("the run is not at rest within {waited:?}"));
            }
            tokio::select! {
                () = sleep(LOOK_INTERVAL) => {}
                Ok(()) = tokio::signal::ctrl_c() => return goes_on(Exit::Interrupted, "interrupted".to_owned()),
            }
            run = look(context, id.as_str()).await?;
        }
        context.output.one(&run)?;
        conclude(context, &run)
    }
}

/// The run as it is now. A server that is away for a moment is waited for.
async fn look(context: &Context, id: &str) -> Result<PlanRunView, Failure> {
    let until = Instant::now() + PATIENCE;
    loop {
        let failure = match context.client.plan_run(id).await {
            Ok(run) => return Ok(run),
            Err(error) => Failure::from(error),
        };
        if failure.exit != Exit::Unreachable || until <= Instant::now() {
            return Err(failure);
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// What was told of each step.
#[derive(Default)]
struct Told(BTreeMap<u32, String>);

impl Told {
    fn tell(&mut self, context: &Context, run: &PlanRunView) {
        for step in run.waves.iter().flat_map(|wave| &wave.lanes).flat_map(|lane| &lane.steps) {
            let told = self.0.insert(step.id, step.state.clone());
            let is_news = told.as_ref().map_or(step.state != "waiting", |told| *told != step.state);
            if is_news && step.state != "left-out" {
                tell(context, run, step);
            }
        }
    }
}

fn tell(context: &Context, run: &PlanRunView, step: &PlanStepView) {
    let why = step.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    context.note(&format!("{:>3}  {:<11} {}{why}", step.id, step.state, step.title));
    let ways: &[&str] = match step.state.as_str() {
        "at-hand" => &["confirm", "skip"],
        "asking" => &["retry", "confirm", "skip"],
        "failed" => &["retry", "skip"],
        _ => return,
    };
    step.instructions
        .iter()
        .flat_map(|text| text.lines())
        .for_each(|line| context.note(&format!("     {line}")));
    for way in ways {
        context.note(&format!("     {}", way_on(context, way, &run.plan, Some(step.id))));
    }
}

/// Fails where the run did not come to what was wanted.
fn conclude(context: &Context, run: &PlanRunView) -> Result<(), Failure> {
    let asked =
        |way: &str| matches!(way, "retry" | "skip" | "confirm").then(|| run.questions.first().copied());
    let ways: Vec<_> =
        run.ways_on.iter().map(|way| way_on(context, way, &run.plan, asked(way).flatten())).collect();
    let what_now = ways.join(", or ");
    match run.standing.as_str() {
        "failed" => {
            Err(Failure::new(Exit::Error, format!("the run of {} stands still", run.plan))
                .with_hint(what_now))
        }
        "cancelled" => {
            Err(Failure::new(Exit::Error, format!("the run of {} was cancelled", run.plan))
                .with_hint(what_now))
        }
        _ => {
            if !ways.is_empty() {
                context.note(&format!("what can be done next: {what_now}"));
            }
            Ok(())
        }
    }
}
