//! What an operator wants of a run.

use std::fmt;

use model::{Timestamp, VmName};

use super::{Act, Kind, Run, Standing, StepId, StepState, Told, Wish, Work, step::StopReason};

/// What an operator wants of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Nothing more begins; what is under way ends.
    Pause,
    /// It goes on after a pause, or a failover goes on that was cancelled.
    Resume,
    /// It goes on without a step; one that is under way is told to end.
    Skip {
        /// The step.
        step: StepId,
        /// Who says so, and why.
        note: String,
    },
    /// A step that failed or asks is done again.
    Retry {
        /// The step.
        step: StepId,
    },
    /// A step that a person does is done, or one that asks counts as done.
    Confirm {
        /// The step.
        step: StepId,
        /// Who says so, and what they saw.
        note: String,
    },
    /// It ends; what can be told to end is.
    Cancel,
    /// What a test made is removed; what a planned failover shut down and did not hand over is started again.
    CleanUp,
    /// The VMs that came up stay.
    Commit,
    /// They are replicated back to where they came from.
    Reprotect,
}

/// Why a command is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub why: String,
    /// What can be done instead, in a few words.
    pub instead: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.why)
    }
}

impl std::error::Error for Refusal {}

fn refuse<T>(why: impl Into<String>, instead: &'static str) -> Result<T, Refusal> {
    Err(Refusal { why: why.into(), instead })
}

impl Run {
    /// Takes a command in, and says what is to be done once the run is kept.
    ///
    /// # Errors
    /// Why it is not taken; nothing has changed then.
    pub fn command(&mut self, command: Command, now: Timestamp) -> Result<Vec<Told>, Refusal> {
        let mut told = Vec::new();
        match command {
            Command::Pause => self.pause()?,
            Command::Resume => self.resume()?,
            Command::Skip { step, note } => self.skip(step, note, now, &mut told)?,
            Command::Retry { step } => self.retry(step, now)?,
            Command::Confirm { step, note } => self.confirm(step, note, now)?,
            Command::Cancel => self.cancel(now, &mut told)?,
            Command::CleanUp => self.clean_up()?,
            Command::Commit => self.commit()?,
            Command::Reprotect => self.reprotect()?,
        }
        self.advance(now, &mut told);
        Ok(told)
    }

    fn pause(&mut self) -> Result<(), Refusal> {
        match self.standing() {
            Standing::Done(_) | Standing::Cancelled | Standing::Cancelling => {
                refuse(format!("the run is {}", self.standing()), "see how it stands")
            }
            _ => {
                self.wish = Wish::Pause;
                Ok(())
            }
        }
    }

    fn resume(&mut self) -> Result<(), Refusal> {
        match (self.standing(), self.kind) {
            (Standing::Pausing | Standing::Paused, _) => {}
            (Standing::Cancelled, Kind::Planned | Kind::Unplanned) if self.act == Act::Recover => {
                for step in self.current_steps_mut().filter(|step| step.state == StepState::Cancelled) {
                    step.state = if step.attempts == 0 || step.work.is_repeatable() || step.work.is_manual() {
                        StepState::Waiting
                    } else {
                        StepState::Asking { why: "it was ended when the run was cancelled".to_owned() }
                    };
                }
            }
            (standing, _) => {
                return refuse(format!("the run is {standing}, not paused"), "see how it stands");
            }
        }
        self.wish = Wish::Go;
        Ok(())
    }

    fn state_of(&self, id: StepId) -> Result<StepState, Refusal> {
        match self.current_steps().find(|step| step.id == id) {
            Some(step) => Ok(step.state.clone()),
            None => refuse(format!("there is no step {id} in this part of the run"), "see its steps"),
        }
    }

    fn refuse_ended(&self) -> Result<(), Refusal> {
        match self.wish {
            Wish::Cancel => refuse("the run was cancelled", "clean up, or resume it"),
            Wish::Go | Wish::Pause => Ok(()),
        }
    }

    fn skip(
        &mut self,
        id: StepId,
        note: String,
        now: Timestamp,
        told: &mut Vec<Told>,
    ) -> Result<(), Refusal> {
        let state = self.state_of(id)?;
        self.refuse_ended()?;
        match state {
            StepState::Running { .. } => self.stop(id, StopReason::Skipped(note), now, told),
            StepState::Waiting
            | StepState::RetryAt { .. }
            | StepState::AtHand { .. }
            | StepState::Asking { .. }
            | StepState::Failed { .. } => self.settle(id, StepState::Skipped { note }),
            _ => return refuse(format!("the step {id} has ended, or is ending"), "see how it stands"),
        }
        Ok(())
    }

    fn retry(&mut self, id: StepId, now: Timestamp) -> Result<(), Refusal> {
        let state = self.state_of(id)?;
        self.refuse_ended()?;
        let Some(step) = self.step_mut(id) else { return Ok(()) };
        match state {
            StepState::Failed { .. } | StepState::Asking { .. } => {
                step.retries_left = step.retries;
                step.state = StepState::Waiting;
                Ok(())
            }
            StepState::RetryAt { why, .. } => {
                step.state = StepState::RetryAt { at: now, why };
                Ok(())
            }
            _ => refuse(format!("the step {id} has not failed"), "see how it stands"),
        }
    }

    fn confirm(&mut self, id: StepId, note: String, now: Timestamp) -> Result<(), Refusal> {
        let state = self.state_of(id)?;
        self.refuse_ended()?;
        if !state.is_question() {
            return refuse(format!("the step {id} does not wait for anybody"), "see how it stands");
        }
        self.settle(id, StepState::Done { at: now, note: Some(note) });
        Ok(())
    }

    fn cancel(&mut self, now: Timestamp, told: &mut Vec<Told>) -> Result<(), Refusal> {
        if let standing @ (Standing::Done(_) | Standing::Cancelled | Standing::Cancelling) = self.standing() {
            return refuse(format!("the run is {standing}"), "see how it stands");
        }
        self.wish = Wish::Cancel;
        let running = self.current_steps().filter(|step| matches!(step.state, StepState::Running { .. }));
        for id in running.map(|step| step.id).collect::<Vec<_>>() {
            self.stop(id, StopReason::Cancelled, now, told);
        }
        for step in self.current_steps_mut() {
            // What asks is still not known once the run is resumed.
            if matches!(step.state, StepState::Waiting | StepState::RetryAt { .. } | StepState::AtHand { .. })
            {
                step.state = StepState::Cancelled;
            }
        }
        Ok(())
    }

    /// The VMs of which a step of this kind was begun, or is done.
    fn vms_where(&self, is_it: impl Fn(&Work) -> bool, is_done: bool) -> Vec<VmName> {
        let steps = self.steps().filter(|step| is_it(&step.work));
        let begun = steps.filter(|step| match is_done {
            true => matches!(step.state, StepState::Done { .. }),
            false => step.attempts > 0,
        });
        begun.filter_map(|step| step.work.vm().cloned()).collect()
    }

    fn is_at_rest(&self, what: &str) -> Result<(), Refusal> {
        if self.current_steps().any(|step| step.state.is_active()) {
            return refuse(format!("steps are under way, so that nothing can be {what}"), "cancel it first");
        }
        Ok(())
    }

    fn clean_up(&mut self) -> Result<(), Refusal> {
        if self.act != Act::Recover {
            return refuse("it was cleaned up or committed already", "retry the steps that failed");
        }
        self.is_at_rest("cleaned up")?;
        let is_up = |work: &Work| matches!(work, Work::BringUp(_));
        if self.kind == Kind::Test {
            let mut vms = self.vms_where(is_up, false);
            vms.reverse();
            self.enter(Act::CleanUp);
            self.push_for_vms("remove what the test made", &vms, Work::TakeDown);
            for action in std::mem::take(&mut self.after_cleanup) {
                self.push_action("after the cleanup", None, &action);
            }
            self.wish = Wish::Go;
            return Ok(());
        }
        let up = self.vms_where(is_up, true);
        let mut down = self.vms_where(|work| matches!(work, Work::ShutDown(_)), false);
        down.retain(|vm| !up.contains(vm));
        // Those that were shut down last are needed first.
        down.reverse();
        if down.is_empty() {
            let instead = if up.is_empty() { "begin another run" } else { "commit it, or resume it" };
            return refuse("nothing was shut down that did not come up", instead);
        }
        self.enter(Act::CleanUp);
        self.push_for_vms("start again what was shut down", &down, Work::StartAgain);
        self.wish = Wish::Go;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Refusal> {
        if self.kind == Kind::Test {
            return refuse("a test is never committed", "clean it up");
        }
        if !matches!(self.act, Act::Recover | Act::CleanUp) {
            return refuse("it was committed already", "see how it stands");
        }
        self.is_at_rest("committed")?;
        let up = self.vms_where(|work| matches!(work, Work::BringUp(_)), true);
        if up.is_empty() {
            return refuse("no VM has come up", "resume it, or begin another run");
        }
        self.enter(Act::Commit);
        self.push_for_vms("the VMs stay", &up, Work::Commit);
        self.wish = Wish::Go;
        Ok(())
    }

    fn reprotect(&mut self) -> Result<(), Refusal> {
        if self.act != Act::Commit {
            let why = "only what was committed is replicated back";
            return refuse(
                why,
                if self.act == Act::Reprotect { "see how it stands" } else { "commit it first" },
            );
        }
        self.is_at_rest("replicated back")?;
        let committed = self.vms_where(|work| matches!(work, Work::Commit(_)), true);
        if committed.is_empty() {
            return refuse("no VM was committed", "retry the steps that failed");
        }
        self.enter(Act::Reprotect);
        self.push_for_vms("the VMs are replicated back", &committed, Work::Reprotect);
        self.wish = Wish::Go;
        Ok(())
    }
}
