//! The world `journal`: a guest whose writes enter a journal, which is shipped to a replica, while processes die, hosts
//! crash and lose what was not durable, disks fill up, and making things durable fails.
//!
//! The checker knows the guest's disks as they were after every record: so every moment that the replica shows has to be.

mod broken;
pub(crate) mod folder;
mod guest;
mod source;
mod target;
mod world;

use std::ops::Range;

pub use broken::Broken;

use crate::run::{Outcome, first_failure_of, live};

/// Lives through the world of a seed, in which something may be `broken` on purpose.
#[must_use]
pub fn run_seed(seed: u64, broken: Option<Broken>) -> Outcome {
    live(seed, |trace| async move { world::World::new(seed, trace, broken).run().await })
}

/// Runs these seeds on all processors until one fails; returns the lowest that did among those that were run, and how many
/// were.
#[must_use]
pub fn first_failure(seeds: Range<u64>, broken: Option<Broken>) -> (Option<Outcome>, u64) {
    first_failure_of(seeds, &|seed| run_seed(seed, broken))
}
