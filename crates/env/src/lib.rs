//! Seams to the world outside the program that differ from run to run: the clock, entropy and threads.
//!
//! Nothing else in the workspace reads the wall clock or draws random numbers, so that a simulation can own both.

#![allow(clippy::disallowed_methods)] // the one place that may ask the operating system for the time

mod threads;

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use model::Timestamp;

pub use threads::Threads;

/// Wall-clock time. May jump; nothing may be deleted on its word alone.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// Random bytes.
pub trait Entropy: Send + Sync {
    /// Fills the buffer with bytes fit for keys and ids.
    fn fill(&self, buffer: &mut [u8]);
}

/// Draws a fixed number of random bytes.
#[must_use]
pub fn random<const LENGTH: usize>(entropy: &dyn Entropy) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    entropy.fill(&mut bytes);
    bytes
}

/// The seams, shared by everything that needs either.
#[derive(Clone)]
pub struct Env {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Where long work runs.
    pub threads: Threads,
}

impl Env {
    /// The real world.
    #[must_use]
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy), threads: Threads::Pool }
    }

    /// A clock and entropy that follow from a seed: the clock starts in 2026 and moves one millisecond at each look.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            clock: Arc::new(SteppingClock::default()),
            entropy: Arc::new(SeededEntropy::new(seed)),
            threads: Threads::Pool,
        }
    }
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_microseconds(jiff::Timestamp::now().as_microsecond())
    }
}

/// The operating system's entropy.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        // aws-lc aborts the process by itself when the kernel has no entropy; there is no other error.
        aws_lc_rs::rand::fill(buffer).expect("the operating system gives random bytes");
    }
}

/// A clock for tests: each look is one millisecond after the last.
#[derive(Debug)]
pub struct SteppingClock {
    microseconds: AtomicI64,
}

impl Default for SteppingClock {
    fn default() -> Self {
        Self { microseconds: AtomicI64::new(1_767_225_600_000_000) }
    }
}

impl Clock for SteppingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_microseconds(self.microseconds.fetch_add(1000, Ordering::Relaxed))
    }
}

/// Repeatable pseudo-random bytes for tests and simulations; never for keys that protect anything.
#[derive(Debug)]
pub struct SeededEntropy {
    state: AtomicU64,
}

impl SeededEntropy {
    /// The sequence that follows from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        // SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
        for block in buffer.chunks_mut(8) {
            let mut word = self
                .state
                .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
                .wrapping_add(0x9e37_79b9_7f4a_7c15);
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            block.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes()[..block.len()]);
        }
    }
}
