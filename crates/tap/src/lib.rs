//! The tap: the small process that takes every write of a VM's disks into a journal.
//!
//! A hypervisor mirrors each write of a guest into an NBD export of the tap before the guest is told that it is done. The tap
//! numbers it, holds it in memory, and answers; a moment later it is durable in the journal. See `docs/replication.md`.

mod client;
mod control;
mod doors;
mod error;
mod flusher;
mod hold;
mod launch;
mod options;
mod process;
mod pulse;
mod status;
mod tap;
mod target;
mod wire;
mod worker;

pub use client::{Client, CopyTicket, Held};
pub use error::{Error, ErrorKind, Result};
pub use journal::{Checkpoint, CheckpointKind, Copied};
pub use launch::launch;
pub use options::TapOptions;
pub use process::{Serving, run, serve};
pub use status::{AddedDisk, Broken, Counts, DurableCheckpoint, Epoch, TapDisk, TapStatus};
pub use wire::{COPY_BYTES_MAX, HOLD_MS_MAX, PARTS_BYTES_MAX};

#[cfg(test)]
mod tests;
