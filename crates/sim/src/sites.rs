//! The world `sites`: a VM at two sites that replicate it to one another and fail it over, while servers, taps and hosts die,
//! messages are lost, late or come twice, disks fill up, clocks jump, and operators ask for anything at any moment.
//!
//! The journals and replicas, the machine of replication and that of recovery are the real ones. What the server does around
//! them is done here in the same steps and the same order. The hypervisor, the catalog and the network are models.
//!
//! # What must hold
//!
//! 1. What a replica shows after a record is what the guest's disks held when that record was taken.
//! 2. What was called durable, at either site, is there after every crash.
//! 3. No two sites have a VM of one generation that may run. A site that has handed its VM over, or was told that it was taken
//!    over, does not let it run, and nothing that it writes is taken.
//! 4. A VM that was handed over runs from all that it had written.
//! 5. What somebody needs of a replica stays: a test reads what it began with.
//!
//! Where a VM is replicated at intervals, a record of an epoch is taken to have been taken at the moment that the epoch is of.

mod attachment;
mod broken;
mod commands;
mod fail_over;
mod guest;
mod hand_over;
mod host;
mod interval;
mod keeper;
mod look;
mod moments;
mod network;
mod receive;
mod server;
mod ship;
mod site;
mod tap;
mod upkeep;
mod world;

use std::{ops::Range, sync::Arc};

pub use broken::Broken;

use crate::run::{Outcome, first_failure_of, live};

/// From this seed on, VMs are replicated at intervals, most of the time.
pub const AT_INTERVALS_FROM: u64 = 1_000_000;

/// Lives through the world of a seed, in which something may be `broken` on purpose.
#[must_use]
pub fn run_seed(seed: u64, broken: Option<Broken>) -> Outcome {
    live(seed, |trace| async move {
        let world = Arc::new(world::World::new(seed, trace, broken));
        world::run(&world).await;
        world.violation()
    })
}

/// Runs these seeds on all processors until one fails; returns the lowest that did among those that were run, and how many
/// were.
#[must_use]
pub fn first_failure(seeds: Range<u64>, broken: Option<Broken>) -> (Option<Outcome>, u64) {
    first_failure_of(seeds, &|seed| run_seed(seed, broken))
}
