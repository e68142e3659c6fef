//! Deterministic simulation: the real vault and the real journal on stores, file systems, clocks and processes that fail in
//! every way they can.
//!
//! Everything follows from a seed: one thread, virtual time, no entropy but the dice. A world lives through some days of
//! several servers in a few milliseconds; a checker knows what must be true all along. What fails once fails again with
//! the same seed.

mod broken;
mod checker;
mod clock;
mod dice;
mod disk;
pub mod journal;
mod model;
mod process;
mod rot;
mod run;
pub mod sites;
mod store;
mod trace;
mod world;

pub use broken::Broken;
pub use run::{Outcome, first_failure, run_seed};
