//! Thousands of worlds in which everything goes wrong, and mistakes on purpose that have to be found.

mod oracle;
mod world;

use self::world::World;

/// A mistake on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A wave begins before the one before it is over.
    DoesNotWaitForWaves,
    /// Steps begin although one has failed that holds them up.
    GoesOnAfterFailure,
    /// What may have been done is done again after a restart.
    RepeatsAfterRestart,
    /// A step counts as done when it was told to begin.
    DoneWhenTold,
    /// Nobody looks whether a step takes too long.
    WaitsForEver,
    /// Steps begin although the run is paused.
    ForgetsPause,
    /// A step that failed is not tried again, and the run goes on.
    LosesRetries,
}

const FLAWS: [Flaw; 7] = [
    Flaw::DoesNotWaitForWaves,
    Flaw::GoesOnAfterFailure,
    Flaw::RepeatsAfterRestart,
    Flaw::DoneWhenTold,
    Flaw::WaitsForEver,
    Flaw::ForgetsPause,
    Flaw::LosesRetries,
];

/// How many worlds there are, and how many at most it takes to find a mistake.
const WORLDS: u64 = 4000;

#[test]
fn every_run_keeps_its_order_and_ends_where_it_can_be_gone_on_from() {
    for seed in 0..WORLDS {
        if let Err(why) = World::new(seed, None).live() {
            panic!("world {seed}: {why}");
        }
    }
}

#[test]
fn every_mistake_is_found() {
    for flaw in FLAWS {
        let found = (0..WORLDS).find_map(|seed| World::new(seed, Some(flaw)).live().err());
        assert!(found.is_some(), "{flaw:?} is not found");
    }
}
