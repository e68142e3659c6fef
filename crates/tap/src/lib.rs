//! The tap: the small process that takes every write of a VM's disks into a journal.
//!
//! A hypervisor mirrors each write of a guest into an NBD export of the tap before the guest is told that it is done. The tap
//! numbers it, holds it in memory, and answers; a moment later it is durable in the journal. A server finds the tap by its
//! control socket, copies into it what the journal lacks, and takes parts of the journal out of it for the target. The tap
//! outlives the server, and goes on while there is none.
//!
//! # Processes
//!
//! ```text
//! holdfast journal-tap <folder>                     the parent: it watches, and kills
//!   holdfast journal-tap <folder> --worker <parent>   the worker: journal, NBD, control socket
//! ```
//!
//! [`launch`] starts the parent in a session of its own; it starts the worker and hands it the options on standard input. Ten
//! times a second the worker says for how long a guest has waited that has waited longest, or its runtime has not turned.
//! When that, or the silence since, comes to 2 s, the parent kills the worker. The worker dies with its parent.
//!
//! ```text
//! <folder>/journal/    the segments
//! <folder>/lock        locked by the worker: a journal has one tap
//! <folder>/launch      locked by who launches
//! <folder>/log         standard error of both; log.old before it, at most 256 KiB when another process begins
//! <sockets>/nbd.sock      an export for each disk, named <VM's id>-<disk's name>
//! <sockets>/control.sock
//! ```
//!
//! # Invariants
//!
//! **The guest first.** 1. A write is answered when it is in memory. Where there is no room it waits, the first that came first,
//! for [`TapOptions::patience_ms`] at most. Then, or when the journal's share of the disk is full, or it cannot be written,
//! the tap *breaks*: all NBD connections end at once, and the guests go on without it.
//! 2. Nothing but the answer to a guest depends on the runtime of the worker, and nothing at all on that of the server.
//! 3. Copies wait for room that guests do not need: half of the memory and a quarter of the disk are theirs.
//!
//! **The truth.** 4. When the tap breaks, when a connection to a disk ends, whoever ended it, and when a tap starts, a new epoch
//! begins for the VMs concerned. It begins in the same step in which writes begin to be missed, as the tap sees it, so no later
//! record passes for a moment at which everything was there. Who ends connections on purpose begins an epoch before.
//! 5. After it broke, nothing is taken from a VM before an epoch was begun for it by somebody who will copy what it missed.
//! 6. A disk is whole by word of its epoch: what was copied in an older one proves nothing.
//! 7. While acknowledgements are held, no write is answered that was taken after the hold began; so of two writes one of which was
//! caused by the other, no moment that is marked in several journals under one hold has the effect without the cause.
//!
//! **Moments.** 8. While a VM is whole a crash checkpoint is made four times a second where something is written, and twice where
//! nothing is: the age of the newest durable one is what a failure now would cost. Each costs one small block and one `fsync`.
//!
//! # Control protocol
//!
//! Frames of two lengths of four bytes, little-endian, a head in JSON and a body of plain bytes. One question at a time on a
//! connection, each with one answer; a connection for each question that waits. The first question is
//! `{"hello":{"protocol":1}}`. A copy that has begun, and held acknowledgements, belong to their connection and end with it. Only
//! processes of the same user are let in. Whoever breaks the protocol is cut off.
//!
//! # Memory
//!
//! What waits for the disk ([`TapOptions::memory_bytes`]); for each NBD connection what is in flight, 32 MiB at most; 16 MiB of
//! copies and 24 MiB of parts on their way; the index of the segment that grows. When memory runs out the kernel is told to
//! take the tap before others (`oom_score_adj` 500): that costs protection, never a guest.

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
