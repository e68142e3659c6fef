//! Running worlds: one seed, or many on all processors.

use std::{
    ops::Range,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tokio::runtime::Builder;

use crate::{broken::Broken, process::DAY, trace::Trace, world::World};

/// A world that has not ended by then hangs.
const LONGEST: std::time::Duration = DAY.saturating_mul(5000);

/// What became of one world.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What the world followed from.
    pub seed: u64,
    /// The first rule that was seen broken; none in a sound world.
    pub violation: Option<String>,
    /// The last events, oldest first.
    pub last_events: Vec<String>,
    /// How many events there were.
    pub event_count: u64,
    /// Follows from all events: the same for the same seed.
    pub digest: u64,
}

/// Lives through the world of a seed, in which something may be `broken` on purpose.
#[must_use]
pub fn run_seed(seed: u64, broken: Option<Broken>) -> Outcome {
    live(seed, |trace| async move {
        let world = Arc::new(World::new(seed, trace, broken));
        let ended = tokio::time::timeout(LONGEST, Box::pin(world.run())).await;
        let hangs = ended.err().map(|_| "the world does not end".to_owned());
        world.model().violation.clone().or(hangs)
    })
}

/// Lives through a world, which says what rule was broken in it.
pub(crate) fn live<F>(seed: u64, world: impl FnOnce(Arc<Trace>) -> F) -> Outcome
where
    F: Future<Output = Option<String>>,
{
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O needs nothing that could be lacking");
    let trace = runtime.block_on(async { Arc::new(Trace::new()) });
    let lived = panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(world(Arc::clone(&trace)))));
    let violation = lived.unwrap_or_else(|_| Some("a panic".to_owned()));
    Outcome { seed, violation, last_events: trace.last(), event_count: trace.count(), digest: trace.digest() }
}

/// Runs these seeds on all processors until one fails; returns the lowest that did among those that were run, and how many
/// were.
#[must_use]
pub fn first_failure(seeds: Range<u64>, broken: Option<Broken>) -> (Option<Outcome>, u64) {
    first_failure_of(seeds, &|seed| run_seed(seed, broken))
}

/// As [`first_failure`], of any kind of world.
pub(crate) fn first_failure_of(
    seeds: Range<u64>,
    run: &(dyn Fn(u64) -> Outcome + Sync),
) -> (Option<Outcome>, u64) {
    let next = AtomicU64::new(seeds.start);
    let end = AtomicU64::new(seeds.end);
    let failed: Mutex<Option<Outcome>> = Mutex::default();
    let count = AtomicU64::new(0);
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end.load(Ordering::Relaxed) {
            return;
        }
        let outcome = run(seed);
        count.fetch_add(1, Ordering::Relaxed);
        if outcome.violation.is_some() {
            end.fetch_min(seed, Ordering::Relaxed);
            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            if failed.as_ref().is_none_or(|other| seed < other.seed) {
                *failed = Some(outcome);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    (failed.into_inner().unwrap_or_else(PoisonError::into_inner), count.into_inner())
}
