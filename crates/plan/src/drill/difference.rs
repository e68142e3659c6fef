//! What is not as it was in the drill before.

use std::collections::{BTreeMap, BTreeSet};

use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    report::{Report, StepReport, StepResult, StepSort},
    text::duration,
};

/// Less than this, more or less, is chance, in milliseconds.
const SLOWER_AT_LEAST_MS: u64 = 5000;

/// What is not as it was in the drill before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differences {
    /// The drill before.
    pub before: String,
    /// When that began.
    pub before_at: Timestamp,
    /// What has changed, worst first.
    pub changes: Vec<Change>,
}

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// In which way.
    pub kind: ChangeKind,
    /// What.
    pub what: String,
    /// More of it.
    pub detail: Option<String>,
}

/// In which way something is not as it was; worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It worked, and does not any more.
    NewlyFailing,
    /// It takes longer, by half at least.
    Slower,
    /// It was not there.
    Added,
    /// It is not there any more.
    Gone,
    /// It did not work, and does now.
    Mended,
    /// It takes less time, by a third at least.
    Faster,
}

impl ChangeKind {
    /// The kind in words.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::NewlyFailing => "newly failing",
            Self::Slower => "slower",
            Self::Added => "added",
            Self::Gone => "gone",
            Self::Mended => "mended",
            Self::Faster => "faster",
        }
    }
}

/// A step of two drills is the same when it is for the same VM, of the same sort and of the same title; the first of such then, the
/// second, and so on.
type Key<'report> = (&'report str, u8, &'report str, usize);

fn keyed(report: &Report) -> BTreeMap<Key<'_>, &StepReport> {
    let mut steps = BTreeMap::new();
    for step in report.steps() {
        let vm = step.vm.as_deref().unwrap_or_default();
        let mut key = (vm, step.sort as u8, step.title.as_str(), 0);
        while steps.contains_key(&key) {
            key.3 += 1;
        }
        steps.insert(key, step);
    }
    steps
}

/// What is not in a report as it was in an earlier one.
pub(super) fn differences(before: &Report, now: &Report) -> Differences {
    let mut changes = Vec::new();
    let names = |report: &Report| report.vms.iter().map(|vm| vm.name.clone()).collect::<BTreeSet<_>>();
    let (vms_before, vms_now) = (names(before), names(now));
    let of_vm = |kind: ChangeKind| move |name: &String| change(kind, format!("the VM {name}"), None);
    changes.extend(vms_now.difference(&vms_before).map(of_vm(ChangeKind::Added)));
    changes.extend(vms_before.difference(&vms_now).map(of_vm(ChangeKind::Gone)));
    let (steps_before, steps_now) = (keyed(before), keyed(now));
    // What a plan says: the rest follows from its VMs, and from how far the drill came.
    let is_of_plan = |step: &StepReport| matches!(step.sort, StepSort::Health | StepSort::Action);
    let is_of =
        |vms: &BTreeSet<String>, step: &StepReport| step.vm.as_ref().is_none_or(|vm| vms.contains(vm));
    for (key, step) in &steps_now {
        match steps_before.get(key) {
            Some(earlier) => changes.extend(became(earlier, step)),
            None if is_of_plan(step) && is_of(&vms_before, step) => {
                changes.push(change(ChangeKind::Added, named(step), None));
            }
            None => {}
        }
    }
    for (key, step) in &steps_before {
        if !steps_now.contains_key(key) && is_of_plan(step) && is_of(&vms_now, step) {
            changes.push(change(ChangeKind::Gone, named(step), None));
        }
    }
    let ms = |report: &Report| report.rto.measured_seconds.map(|seconds| seconds.saturating_mul(1000));
    if let Some((earlier, later)) = ms(before).zip(ms(now)) {
        changes.extend(pace("the RTO".to_owned(), earlier, later));
    }
    changes.sort();
    Differences { before: before.drill.clone(), before_at: before.begun_at, changes }
}

fn change(kind: ChangeKind, what: String, detail: Option<String>) -> Change {
    Change { kind, what, detail }
}

fn named(step: &StepReport) -> String {
    match step.sort {
        StepSort::Health => format!("the check {}", step.title),
        StepSort::Action => format!("the action {}", step.title),
        _ => step.title.clone(),
    }
}

fn became(before: &StepReport, now: &StepReport) -> Option<Change> {
    match (before.result, now.result) {
        (StepResult::Failed, StepResult::Failed) => None,
        (_, StepResult::Failed) => Some(change(ChangeKind::NewlyFailing, named(now), now.why.clone())),
        (StepResult::Failed, StepResult::Done) => Some(change(ChangeKind::Mended, named(now), None)),
        (StepResult::Done, StepResult::Done) => pace(named(now), before.took_ms?, now.took_ms?),
        _ => None,
    }
}

fn pace(what: String, before_ms: u64, now_ms: u64) -> Option<Change> {
    if before_ms.abs_diff(now_ms) < SLOWER_AT_LEAST_MS {
        return None;
    }
    let is_much_more = |one: u64, other: u64| one.saturating_mul(2) >= other.saturating_mul(3);
    let detail = Some(format!("{}, was {}", duration(now_ms), duration(before_ms)));
    if is_much_more(now_ms, before_ms) {
        Some(change(ChangeKind::Slower, what, detail))
    } else if is_much_more(before_ms, now_ms) {
        Some(change(ChangeKind::Faster, what, detail))
    } else {
        None
    }
}
