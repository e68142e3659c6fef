//! From a run to a report.

use std::collections::BTreeMap;

use model::{Timestamp, VmName};

use super::{
    Measure, Part, Report, Screenshot, StepReport, StepResult, StepSort, Verdict, VmReport,
    difference::differences,
};
use crate::{Act, Run, Step, StepState, VmFacts, Wave, Work};

/// How much of a log, and of a console, is kept in a report, in bytes: its end.
const LOG_KEPT_BYTES: usize = 4 << 10;
const CONSOLE_KEPT_BYTES: usize = 2 << 10;

/// What the run itself does not know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The run's id.
    pub drill: String,
    /// The site at which it ran.
    pub site: String,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What was seen of its VMs before they were removed.
    pub seen: BTreeMap<VmName, Seen>,
}

/// What was seen of a VM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The picture of its screen.
    pub screenshot: Option<Screenshot>,
    /// What it wrote to its serial port, or the end of it.
    pub console: String,
}

impl Report {
    /// The report of a drill that has ended, compared with the one of the drill before.
    #[must_use]
    pub fn of(run: &Run, circumstances: &Circumstances, before: Option<&Self>) -> Self {
        let parts = parts(run);
        let mut vms: Vec<_> = run
            .vms()
            .iter()
            .map(|(name, facts)| vm(run, name, facts, circumstances.seen.get(name)))
            .collect();
        vms.sort_by_key(|vm| vm.group);
        let (rto, rpo) = (rto(run), rpo(run));
        let (verdict, reasons) = judge(&parts, rto, rpo);
        let mut report = Self {
            drill: circumstances.drill.clone(),
            plan: run.plan.clone(),
            plan_version: run.plan_version,
            site: circumstances.site.clone(),
            operator: run.operator.clone(),
            point: run.point.clone(),
            begun_at: run.begun_at,
            ended_at: circumstances.ended_at,
            verdict,
            reasons,
            rto,
            rpo,
            vms,
            parts,
            differences: None,
        };
        report.differences = before.map(|before| differences(before, &report));
        report
    }
}

/// What came of it all, and why it is no better.
fn judge(parts: &[Part], rto: Measure, rpo: Measure) -> (Verdict, Vec<String>) {
    let mut failures = Vec::new();
    let mut is_cut_short = false;
    for part in parts {
        for step in &part.steps {
            let why = step.why.as_deref().unwrap_or("it is not known why");
            match step.result {
                StepResult::Failed => failures.push(format!("step {}, {}: {why}", step.number, step.title)),
                StepResult::NotReached if part.is_cleanup => {
                    failures.push(format!("step {}, {}: it was not done", step.number, step.title));
                }
                StepResult::NotReached => is_cut_short = true,
                StepResult::Done | StepResult::Skipped | StepResult::LeftOut => {}
            }
        }
    }
    if !failures.is_empty() {
        return (Verdict::Failed, failures);
    }
    if is_cut_short {
        return (Verdict::Cancelled, vec!["somebody ended it before all was up".to_owned()]);
    }
    let late = |what: &str, measure: Measure| {
        let (measured, target) = measure.measured_seconds.zip(measure.target_seconds)?;
        measure.is_missed().then(|| format!("the {what} was {measured} s, and should be {target} s at most"))
    };
    let missed: Vec<_> = late("RTO", rto).into_iter().chain(late("RPO", rpo)).collect();
    let verdict = if missed.is_empty() { Verdict::Passed } else { Verdict::PassedLate };
    (verdict, missed)
}

fn rto(run: &Run) -> Measure {
    let took = run.recovered_at.map(|at| at.microseconds_since(run.begun_at));
    Measure { measured_seconds: took.map(seconds), target_seconds: run.rto_seconds }
}

/// How much a failover in place of the drill would have lost. Where an older moment was asked for, that says nothing of the target.
fn rpo(run: &Run) -> Measure {
    let oldest = run.vms().values().filter_map(|facts| facts.moment_at).min();
    let age = oldest.map(|at| seconds(run.begun_at.microseconds_since(at)));
    Measure { measured_seconds: age, target_seconds: run.rpo_seconds.filter(|_| run.is_newest) }
}

fn seconds(microseconds: i64) -> u64 {
    u64::try_from(microseconds).unwrap_or(0).div_ceil(1_000_000)
}

fn milliseconds(microseconds: i64) -> u64 {
    u64::try_from(microseconds).unwrap_or(0) / 1000
}

fn vm(run: &Run, name: &VmName, facts: &VmFacts, seen: Option<&Seen>) -> VmReport {
    let waves = run.waves().iter().filter(|wave| wave.act == Act::Recover);
    let own = waves.flat_map(|wave| &wave.lanes).filter(|lane| lane.vm.as_ref() == Some(name));
    let steps: Vec<_> = own.flat_map(|lane| &lane.steps).collect();
    let is_up = steps.iter().all(|step| matches!(step.state, StepState::Done { .. }));
    let ended = steps.iter().filter_map(|step| step.history.last()).map(|attempt| attempt.ended_at).max();
    VmReport {
        name: name.to_string(),
        group: facts.group.saturating_add(1),
        is_up,
        up_after_ms: ended.filter(|_| is_up).map(|at| milliseconds(at.microseconds_since(run.begun_at))),
        moment_at: facts.moment_at,
        addresses: facts.addresses.clone(),
        screenshot: seen.and_then(|seen| seen.screenshot.clone()),
        console: seen.map(|seen| tail(&seen.console, CONSOLE_KEPT_BYTES).to_owned()).unwrap_or_default(),
    }
}

/// The waves, and those in one that have the same title one after the other: each action is a wave by itself.
fn parts(run: &Run) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for next in run.waves().iter().map(part) {
        match parts.last_mut() {
            Some(last) if (&last.title, last.is_cleanup) == (&next.title, next.is_cleanup) => {
                last.steps.extend(next.steps);
            }
            _ => parts.push(next),
        }
    }
    parts
}

fn part(wave: &Wave) -> Part {
    let is_cleanup = wave.act != Act::Recover;
    let steps = wave.lanes.iter().flat_map(|lane| &lane.steps).map(|each| step(each, is_cleanup));
    Part { title: wave.title.clone(), is_cleanup, steps: steps.collect() }
}

fn step(step: &Step, is_cleanup: bool) -> StepReport {
    let (result, why) = result(step);
    let last = step.history.last();
    let began_at = step.history.first().map(|attempt| attempt.began_at);
    let took = last.zip(began_at).map(|(last, began_at)| last.ended_at.microseconds_since(began_at));
    StepReport {
        number: step.id.0,
        sort: match &step.work {
            Work::Check => StepSort::Preparation,
            Work::Gate(..) => StepSort::Health,
            Work::Act(_) => StepSort::Action,
            _ if is_cleanup => StepSort::Removal,
            _ => StepSort::Vm,
        },
        title: step.work.title(),
        vm: step.work.vm().map(ToString::to_string),
        result,
        why,
        began_at,
        took_ms: took.map(milliseconds),
        attempts: step.attempts,
        exit_code: last.and_then(|attempt| attempt.exit_code),
        log: last.map(|attempt| tail(&attempt.text, LOG_KEPT_BYTES).to_owned()).unwrap_or_default(),
    }
}

/// What came of a step, and why.
fn result(step: &Step) -> (StepResult, Option<String>) {
    let last_failure = step.history.last().and_then(|attempt| attempt.failure.clone());
    match &step.state {
        StepState::Done { note, .. } => (StepResult::Done, note.clone()),
        StepState::Failed { why }
        | StepState::PassedOver { why }
        | StepState::Asking { why }
        | StepState::RetryAt { why, .. } => (StepResult::Failed, Some(why.clone())),
        StepState::Skipped { note } if step.work.is_manual() => (StepResult::Skipped, Some(note.clone())),
        // Nobody knows that it works.
        StepState::Skipped { note } => {
            let why = last_failure.unwrap_or_else(|| format!("it was skipped: {note}"));
            (StepResult::Failed, Some(why))
        }
        StepState::LeftOut { why } => (StepResult::LeftOut, Some(why.clone())),
        StepState::Cancelled
        | StepState::Waiting
        | StepState::Running { .. }
        | StepState::Stopping { .. }
        | StepState::AtHand { .. } => (StepResult::NotReached, last_failure),
    }
}

/// The end of a text.
fn tail(text: &str, limit_bytes: usize) -> &str {
    let mut start = text.len().saturating_sub(limit_bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}
