//! What an operator would say to the run of a drill.

use crate::{Act, Command, Run, Standing, StepState, Work};

/// How often it is tried to remove a VM.
const REMOVALS_MAX: u32 = 3;

/// What is noted of steps that a person would have done.
const NOBODY: &str = "a drill asks nobody";

/// What is noted of steps that failed when everything was removed.
const GIVEN_UP: &str = "it failed, and the drill removes the rest without it";

/// What the run is to be told now; nothing while it goes on by itself, is paused, or is over.
///
/// Told so again and again, each run ends: what a person would do is skipped, nothing that failed is done again, and whatever has
/// come of it, all VMs are removed. Each command that this returns is taken, and brings the run on.
#[must_use]
pub fn next(run: &Run) -> Option<Command> {
    match (run.standing(), run.act()) {
        (Standing::Failed | Standing::NeedsAnswer, Act::Recover) => Some(after_question(run)),
        (Standing::Failed | Standing::NeedsAnswer, Act::CleanUp) => in_clean_up(run),
        (Standing::Done(_) | Standing::Cancelled, Act::Recover) => Some(Command::CleanUp),
        _ => None,
    }
}

fn after_question(run: &Run) -> Command {
    let is_at_hand = |state: &StepState| matches!(state, StepState::AtHand { .. });
    match run.questions().next() {
        Some(step) if run.questions().all(|step| is_at_hand(&step.state)) => {
            Command::Skip { step: step.id, note: NOBODY.to_owned() }
        }
        _ => Command::CleanUp,
    }
}

fn in_clean_up(run: &Run) -> Option<Command> {
    let step = run.questions().next()?;
    let is_removal = matches!(step.work, Work::TakeDown(_));
    Some(match &step.state {
        StepState::Failed { .. } if is_removal && step.attempts < REMOVALS_MAX => {
            Command::Retry { step: step.id }
        }
        StepState::AtHand { .. } => Command::Skip { step: step.id, note: NOBODY.to_owned() },
        _ => Command::Skip { step: step.id, note: GIVEN_UP.to_owned() },
    })
}
