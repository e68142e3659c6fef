//! Fuzzing: mutated bytes for every decoder of foreign bytes.
//!
//! A decoder may refuse its input. It may not panic, abort, or take much more memory than the input has bytes. Inputs are
//! mutations of what the decoders accept and of inputs that were refused for a reason not seen before; they follow from a
//! seed.

mod allocation;
mod corpus;
mod engine;
mod mutation;
mod target;

pub use allocation::CountingAllocator;
pub use corpus::Corpus;
pub use engine::{Finding, Fuzzer, Report, check, shrink};
pub use target::{Target, targets};
