//! Site recovery on the side that keeps the replica: what may happen to it when, as a pure state machine.
//!
//! ```text
//! protected ──failover──► failing over ──done──► failed over ──commit──► committed
//!     │                        ▲                      │
//!     └── tests, any number    └────change point──────┘
//! ```
//!
//! An [`Event`] comes in; out come the [`Standing`] that has to be durable before anything is done, and the [`Action`]s to do
//! then, in their order. Each action may be done again: after a crash the same event is put in again, and the answer goes on from
//! where it was.
//!
//! # Invariants
//!
//! 1. Once a failover has begun, nothing of the source's generation is taken any more, whatever becomes of the failover.
//! 2. A generation never goes down.
//! 3. The VM that a failover makes has one id through all its attempts, so there is never a second.
//! 4. Moments are dropped by a commit and by a deletion, and by nothing else.

mod refusal;
mod standing;

use model::{Timestamp, VmId};

pub use refusal::Refusal;
pub use standing::{Failover, Stage, Standing};

/// What somebody wants, or what has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The source offers the journal, anew or for the first time.
    Offered {
        /// Its generation.
        generation: u64,
    },
    /// The source sends parts of it.
    PartsCame,
    /// The source ends the replication.
    SourceEnded {
        /// When.
        at: Timestamp,
    },
    /// A test is wanted.
    Test,
    /// The VM is to run here.
    FailOver {
        /// The VM that it becomes, unless an earlier attempt has chosen.
        vm_id: VmId,
        /// When.
        at: Timestamp,
    },
    /// The VM runs here.
    FailedOver,
    /// The VM is to run from another moment.
    ChangePoint,
    /// The moment is the right one.
    Commit {
        /// When.
        at: Timestamp,
    },
    /// The replica is to go.
    Delete {
        /// Tests that are not cleaned up.
        running_tests: usize,
    },
}

/// What to do, once the standing is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Take what comes.
    Receive,
    /// From now on refuse what is older than the standing's generation.
    RaiseGeneration,
    /// Make the VM of a test.
    BuildTest,
    /// Stop the VM and remove what was built for it.
    TakeDown,
    /// Make the VM from the moment, unless it is there already.
    Build,
    /// Start it, unless it runs.
    Start,
    /// Let the moments go that no disk reads from.
    DropMoments,
    /// Let all of it go.
    Remove,
}

/// What an event leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What has to be durable before anything is done.
    pub standing: Standing,
    /// What to do then, in this order.
    pub actions: Vec<Action>,
}

/// What to do about an event.
///
/// # Errors
/// Why nothing may be done.
pub fn step(standing: &Standing, event: Event) -> Result<Step, Refusal> {
    match event {
        Event::Offered { generation } => offered(standing, generation),
        Event::PartsCame => {
            fence(standing)?;
            match standing.ended_at {
                Some(at) => Err(Refusal::Ended { at }),
                None => same(standing, [Action::Receive]),
            }
        }
        // Who was failed over has nothing to end any more.
        Event::SourceEnded { at } => match standing.stage {
            Stage::Protected => {
                let ended_at = standing.ended_at.or(Some(at));
                then(Standing { ended_at, ..standing.clone() }, [])
            }
            _ => same(standing, []),
        },
        Event::Test => match &standing.stage {
            Stage::Committed { failover, .. } => Err(Refusal::Committed(failover.clone())),
            _ => same(standing, [Action::BuildTest]),
        },
        Event::FailOver { vm_id, at } => fail_over(standing, vm_id, at),
        Event::FailedOver => match &standing.stage {
            Stage::FailingOver(failover) => {
                let stage = Stage::FailedOver(failover.clone());
                then(Standing { stage, ..standing.clone() }, [])
            }
            _ => same(standing, []),
        },
        Event::ChangePoint => match &standing.stage {
            Stage::Protected => Err(Refusal::NotFailedOver),
            Stage::FailingOver(failover) | Stage::FailedOver(failover) => {
                let stage = Stage::FailingOver(failover.clone());
                let again = [Action::RaiseGeneration, Action::TakeDown, Action::Build, Action::Start];
                then(Standing { stage, ..standing.clone() }, again)
            }
            Stage::Committed { failover, .. } => Err(Refusal::Committed(failover.clone())),
        },
        Event::Commit { at } => match &standing.stage {
            Stage::Protected => Err(Refusal::NotFailedOver),
            Stage::FailingOver(failover) => Err(Refusal::Unfinished(failover.clone())),
            Stage::FailedOver(failover) => {
                let stage = Stage::Committed { failover: failover.clone(), committed_at: at };
                then(Standing { stage, ..standing.clone() }, [Action::DropMoments])
            }
            Stage::Committed { .. } => same(standing, [Action::DropMoments]),
        },
        Event::Delete { running_tests } => match standing.uncommitted() {
            Some(failover) => Err(Refusal::Uncommitted(failover.clone())),
            None if running_tests > 0 => Err(Refusal::Tested { running_tests }),
            None => same(standing, [Action::Remove]),
        },
    }
}

fn offered(standing: &Standing, generation: u64) -> Result<Step, Refusal> {
    fence(standing)?;
    if generation < standing.generation {
        return Err(Refusal::Older { offered: generation, known: standing.generation });
    }
    then(Standing { generation, ended_at: None, ..standing.clone() }, [Action::Receive])
}

fn fail_over(standing: &Standing, vm_id: VmId, at: Timestamp) -> Result<Step, Refusal> {
    let actions = [Action::RaiseGeneration, Action::Build, Action::Start];
    match &standing.stage {
        Stage::Protected => {
            let generation = standing.generation.saturating_add(1);
            let failover = Failover { vm_id, begun_at: at, generation };
            then(
                Standing { stage: Stage::FailingOver(failover), generation, ended_at: standing.ended_at },
                actions,
            )
        }
        Stage::FailingOver(_) => same(standing, actions),
        Stage::FailedOver(failover) | Stage::Committed { failover, .. } => {
            Err(Refusal::FailedOver(failover.clone()))
        }
    }
}

/// Refuses whoever was failed over.
fn fence(standing: &Standing) -> Result<(), Refusal> {
    standing.failover().map_or(Ok(()), |failover| Err(Refusal::Fenced(failover.clone())))
}

fn then<const COUNT: usize>(standing: Standing, actions: [Action; COUNT]) -> Result<Step, Refusal> {
    Ok(Step { standing, actions: actions.to_vec() })
}

fn same<const COUNT: usize>(standing: &Standing, actions: [Action; COUNT]) -> Result<Step, Refusal> {
    then(standing.clone(), actions)
}

#[cfg(test)]
mod tests;
