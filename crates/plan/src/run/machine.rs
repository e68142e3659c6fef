//! The machine: events in, actions out.

use model::Timestamp;

#[cfg(test)]
use super::tests::Flaw;
use super::{
    Act, Event, Outcome, Output, Run, StepId, StepState, Told, Wish, Work,
    step::{StopReason, tail},
};
use crate::OnFailure;

/// How long a step that was told to end may take for that, in seconds.
const STOP_LIMIT_SECONDS: u64 = 60;

/// The most that actions may set for one another, in bytes.
const VARIABLES_MAX_BYTES: usize = 64 << 10;

/// What is said of a step that ran when its server died.
const INTERRUPTED: &str = "the server ended while it was under way: it is not known whether it was done";

impl Run {
    /// Takes in what has come to pass, and says what is to be done once the run is kept.
    #[must_use]
    pub fn handle(&mut self, event: Event, now: Timestamp) -> Vec<Told> {
        let mut told = Vec::new();
        match event {
            Event::Tick => {}
            Event::Ended { step, attempt, outcome } => self.ended(step, attempt, outcome, now),
            Event::Restarted => self.restarted(now),
        }
        self.end_what_takes_too_long(now, &mut told);
        self.advance(now, &mut told);
        told
    }

    /// When an [`Event::Tick`] is due.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        let may_begin = self.may_begin();
        #[cfg(test)]
        if self.has(Flaw::WaitsForEver) {
            return None;
        }
        let due = self.current_steps().filter_map(|step| match &step.state {
            StepState::Running { until, .. } | StepState::AtHand { until, .. } => *until,
            StepState::Stopping { until, .. } => Some(*until),
            StepState::RetryAt { at, .. } if may_begin => Some(*at),
            _ => None,
        });
        due.min()
    }

    /// Whether anything that waits may begin: nobody has paused the run, and nothing that failed holds it up.
    pub(super) fn may_begin(&self) -> bool {
        #[cfg(test)]
        if self.has(Flaw::GoesOnAfterFailure) {
            return self.wish == Wish::Go;
        }
        #[cfg(test)]
        if self.has(Flaw::ForgetsPause) && self.wish == Wish::Pause {
            return true;
        }
        let holds_up = |state: &StepState| matches!(state, StepState::Failed { .. });
        self.wish == Wish::Go && !self.current_steps().any(|step| holds_up(&step.state))
    }

    /// Begins what may begin.
    pub(super) fn advance(&mut self, now: Timestamp, told: &mut Vec<Told>) {
        if self.may_begin() {
            let ready = self.ready(now);
            for id in ready {
                self.start(id, now, told);
            }
        }
        let is_over = self.current_steps().all(|step| step.state.is_settled());
        if is_over && self.act == Act::Recover && self.wish != Wish::Cancel && self.recovered_at.is_none() {
            self.recovered_at = Some(now);
        }
    }

    /// The steps whose turn it is.
    fn ready(&self, now: Timestamp) -> Vec<StepId> {
        let mut ready = Vec::new();
        for wave in self.waves.iter().filter(|wave| wave.act == self.act) {
            let mut is_over = true;
            for lane in &wave.lanes {
                let Some(next) = lane.steps.iter().find(|step| !step.state.is_settled()) else { continue };
                is_over = false;
                let is_its_turn = match &next.state {
                    StepState::Waiting => true,
                    StepState::RetryAt { at, .. } => *at <= now,
                    _ => false,
                };
                if is_its_turn {
                    ready.push(next.id);
                }
            }
            #[cfg(test)]
            if self.has(Flaw::DoesNotWaitForWaves) {
                continue;
            }
            if !is_over {
                break;
            }
        }
        ready
    }

    fn start(&mut self, id: StepId, now: Timestamp, told: &mut Vec<Told>) {
        let Some(step) = self.step_mut(id) else { return };
        let until = step.work.limit_seconds().map(|seconds| after(now, seconds));
        step.attempts = step.attempts.saturating_add(1);
        if step.work.is_manual() {
            step.state = StepState::AtHand { since: now, until };
        } else {
            step.state = StepState::Running { since: now, until };
            told.push(Told::Begin { step: id, attempt: step.attempts });
            #[cfg(test)]
            if self.has(Flaw::DoneWhenTold) {
                self.settle(id, StepState::Done { at: now, note: None });
            }
        }
    }

    fn end_what_takes_too_long(&mut self, now: Timestamp, told: &mut Vec<Told>) {
        let overdue = self.current_steps().filter(|step| match &step.state {
            StepState::Running { until, .. } | StepState::AtHand { until, .. } => {
                until.is_some_and(|until| until <= now)
            }
            StepState::Stopping { until, .. } => *until <= now,
            _ => false,
        });
        for id in overdue.map(|step| step.id).collect::<Vec<_>>() {
            let Some(step) = self.step_mut(id) else { continue };
            match step.state.clone() {
                StepState::Running { .. } => self.stop(id, StopReason::TimedOut, now, told),
                StepState::AtHand { .. } => {
                    let why = "nobody has confirmed it in time";
                    step.remember(now, Some(why), &Output::default());
                    self.fail(id, why.to_owned(), now);
                }
                // Whatever it was stopped for: what may still be under way is not begun again by itself.
                _ => {
                    let why = "it was told to end and has not: it may still be under way";
                    step.remember(now, Some(why), &Output::default());
                    step.state = StepState::Asking { why: why.to_owned() };
                }
            }
        }
    }

    /// Tells a step to end.
    pub(super) fn stop(&mut self, id: StepId, why: StopReason, now: Timestamp, told: &mut Vec<Told>) {
        let Some(step) = self.step_mut(id) else { return };
        let Some(since) = step.began_at() else { return };
        step.state = StepState::Stopping { since, why, until: after(now, STOP_LIMIT_SECONDS) };
        told.push(Told::Stop { step: id, attempt: step.attempts });
    }

    fn ended(&mut self, id: StepId, attempt: u32, outcome: Outcome, now: Timestamp) {
        let Some(step) = self.step_mut(id) else { return };
        if step.attempts != attempt {
            return;
        }
        let stopped_for = match &step.state {
            StepState::Running { .. } => None,
            StepState::Stopping { why, .. } => Some(why.clone()),
            // It was given up, and has come to a good end after all.
            StepState::Asking { .. } if matches!(outcome, Outcome::Succeeded(_)) => None,
            _ => return,
        };
        let is_repeatable = step.work.is_repeatable();
        match outcome {
            Outcome::Succeeded(output) => {
                step.remember(now, None, &output);
                step.state = StepState::Done { at: now, note: None };
                let vm = step.work.vm().cloned();
                self.learn(vm.as_ref(), output);
            }
            Outcome::Failed { why, output } => {
                let why = match stopped_for {
                    Some(StopReason::TimedOut) => format!("its time was over: {why}"),
                    _ => why,
                };
                step.remember(now, Some(&why), &output);
                self.failed(id, stopped_for, why, now);
            }
            Outcome::Unknown { why } => {
                let why = tail(&why).to_owned();
                step.remember(now, Some(&why), &Output::default());
                match stopped_for {
                    None | Some(StopReason::TimedOut) if !is_repeatable => {
                        self.settle(id, StepState::Asking { why })
                    }
                    _ => self.failed(id, stopped_for, why, now),
                }
            }
        }
    }

    fn failed(&mut self, id: StepId, stopped_for: Option<StopReason>, why: String, now: Timestamp) {
        match stopped_for {
            Some(StopReason::Skipped(note)) => self.settle(id, StepState::Skipped { note }),
            Some(StopReason::Cancelled) => self.settle(id, StepState::Cancelled),
            None | Some(StopReason::TimedOut) => self.fail(id, why, now),
        }
    }

    /// A step has failed: it is tried again, or the run goes on, stands still or asks.
    fn fail(&mut self, id: StepId, why: String, now: Timestamp) {
        let is_cancelled = self.wish == Wish::Cancel;
        #[cfg(test)]
        let is_flawed = self.has(Flaw::LosesRetries);
        let Some(step) = self.step_mut(id) else { return };
        let why = tail(&why).to_owned();
        #[cfg(test)]
        if is_flawed {
            step.state = StepState::PassedOver { why };
            return;
        }
        if is_cancelled {
            return self.settle(id, StepState::Cancelled);
        }
        if step.retries_left > 0 {
            step.retries_left -= 1;
            step.state = StepState::RetryAt { at: after(now, step.retry_pause_seconds), why };
            return;
        }
        let state = match step.on_failure {
            OnFailure::Continue => StepState::PassedOver { why },
            OnFailure::Ask => StepState::Asking { why },
            OnFailure::Stop => StepState::Failed { why },
        };
        self.settle(id, state);
    }

    /// What a step has come to. A VM that is not shut down or not up is left out of what depends on that.
    pub(super) fn settle(&mut self, id: StepId, state: StepState) {
        let is_lost = state.is_settled() && !matches!(state, StepState::Done { .. });
        let Some(step) = self.step_mut(id) else { return };
        step.state = state;
        let work = step.work.clone();
        match work {
            Work::ShutDown(vm) if is_lost => {
                self.leave_out(&vm, "the VM was not shut down: it stays where it is")
            }
            Work::BringUp(vm) if is_lost => self.leave_out(&vm, "the VM did not come up"),
            _ => {}
        }
    }

    fn learn(&mut self, vm: Option<&model::VmName>, output: Output) {
        if let Some(facts) = vm.and_then(|vm| self.vms.get_mut(vm)) {
            if let Some((id, name)) = output.vm {
                (facts.vm_id, facts.up_as) = (Some(id), Some(name));
            }
            facts.moment_at = output.moment_at.or(facts.moment_at);
            if !output.addresses.is_empty() {
                facts.addresses = output.addresses;
            }
        }
        for (name, value) in output.variables {
            let others = self.variables.iter().filter(|(other, _)| **other != name);
            let taken: usize = others.map(|(name, value)| name.len() + value.len()).sum();
            if taken + name.len() + value.len() <= VARIABLES_MAX_BYTES {
                self.variables.insert(name, value);
            }
        }
    }

    fn restarted(&mut self, now: Timestamp) {
        let active = self.current_steps().filter(|step| step.state.is_active()).map(|step| step.id);
        for id in active.collect::<Vec<_>>() {
            let is_cancelled = self.wish == Wish::Cancel;
            let Some(step) = self.step_mut(id) else { continue };
            let is_repeatable = step.work.is_repeatable();
            let state = step.state.clone();
            step.remember(now, Some(INTERRUPTED), &Output::default());
            #[cfg(test)]
            if self.has(Flaw::RepeatsAfterRestart) {
                self.settle(id, StepState::Waiting);
                continue;
            }
            match state {
                StepState::Stopping { why: StopReason::Skipped(note), .. } => {
                    self.settle(id, StepState::Skipped { note });
                }
                _ if is_cancelled => self.settle(id, StepState::Cancelled),
                _ if is_repeatable => self.settle(id, StepState::Waiting),
                _ => self.settle(id, StepState::Asking { why: INTERRUPTED.to_owned() }),
            }
        }
    }
}

/// So many seconds later.
fn after(now: Timestamp, seconds: u64) -> Timestamp {
    let microseconds = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    Timestamp::from_microseconds(now.as_microseconds().saturating_add(microseconds))
}
