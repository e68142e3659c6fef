//! The journal: a durable log of the writes to disks, from which any moment of them is shown.
//!
//! On the host where the VMs run, a [`Journal`] takes in every write and makes it durable in order. Its segments are
//! shipped as they are. On the other side a [`Replica`] keeps them, and shows a VM as it was after any record as images.
//!
//! # Layout
//!
//! ```text
//! segment-<16 digits>        records in blocks; sealed by a footer with marks and an index
//! index-<level>-<16 digits>  replica: the indexes of many segments merged into one
//! base-<10 digits>           replica: a disk at the oldest moment that can be shown, or what a new one begins with
//! state                      replica: which moment that is, and which are pinned
//! <name>.unfinished          what a process was writing when it died
//! ```
//!
//! `docs/format.md` describes every byte.
//!
//! # Invariants
//!
//! **Order.** 1. One sequence counts the records of all disks of a journal. A record has its number before whoever asked for
//! it has its answer, so every prefix of the records is a state that a crash of the host could have left.
//! 2. Times in a journal never go back, whatever the clock does. In an epoch of a moment they stand at it: its records are copies
//! of that moment, and nothing in it can be shown before all of them are there (7).
//!
//! **Durability.** 3. A segment is whole and durable before the next one is there. Only the last can have a torn tail; it is
//! cut, and the cut is durable before anything is written behind it. Anything else that is not as it was written is
//! [`ErrorKind::Corrupt`] and names the segment: each block says what was durable when it was written, so acknowledged
//! records are not taken for a tail.
//! 4. Only what is durable at the source is shipped, so the target never has a record that the source could give to another
//! write after a crash.
//! 5. A source removes a segment only when the target has it sealed, and so durable.
//!
//! **The guest first.** 6. Taking in a record never waits for a file. Where there is no room the caller is told, and nothing
//! was taken.
//!
//! **Whole or not.** 7. A journal that is taken up again begins a new epoch: its VMs are not whole until what was missed has
//! been copied. A moment at which a VM is not whole is never shown.
//! 8. A copy gives way to what was written while it was read, so it enters the same sequence and nothing else has to know.
//!
//! **Folding.** 9. The base is never ahead of a moment that can be shown: how far a fold goes is durable before it begins. It
//! may be repeated from its start.
//! 10. What is pinned is not folded, and of each VM the newest moment at which it is whole stays, whatever the retention says.
//! 11. A segment goes after the base that has taken it up is durable.
//!
//! **Seeds.** 12. What a disk holds before its first record is zeros, or a seed: any bytes, the same for ever. One is chosen
//! before any moment at which the disk is whole, so no moment that is shown depends on what was chosen: by then each sector
//! was recorded, or was compared with what the replica shows.
//!
//! **Fencing.** 13. A replica takes nothing of an older generation than the newest that it knows.
//!
//! # Memory
//!
//! A journal holds what is not written yet, as much as its options say, and the index of the segment that grows: about
//! 131,072 records at most. A replica holds about 200 bytes for each segment, 32 MiB of expanded blocks at most, 24 MiB of pages of
//! indexes, and for each moment that is looked at the index of a part of one segment. On disk each extent takes 32 bytes in
//! its segment's index, and up to as much again in each of up to five levels of merged indexes, where extents that were
//! written over are gone.
//!
//! This crate knows no network, no hypervisor and no other engine.

mod block;
mod codec;
mod disks;
mod error;
mod extents;
#[cfg(test)]
mod fixture;
mod flaw;
mod folder;
#[doc(hidden)]
pub mod fuzz;
#[cfg(test)]
mod golden;
mod index;
mod mark;
mod part;
mod recent;
mod record;
mod replica;
mod segment;
mod sequence;
mod source;

pub use disks::{Disk, DiskTable};
pub use error::{Error, ErrorKind, Result};
#[cfg(feature = "flaws")]
pub use flaw::Flaw;
#[cfg(not(feature = "flaws"))]
use flaw::Flaw;
pub use folder::{Directory, Folder, FolderFile};
pub use mark::{CHECKPOINT_NAME_BYTES_MAX, Checkpoint, CheckpointKind, Mark, MarkRecord};
pub use part::{Part, PartContent, Position};
pub use record::{Change, Record};
pub use replica::{
    At, FoldPlan, Folded, Grid, Moment, Received, Replica, ReplicaChanges, ReplicaImage, ReplicaStatus,
    RestorePoint, Retention, Seeding, thin,
};
pub use sequence::{DiskNumber, Generation, SegmentNumber, Sequence};
pub use source::{Copied, CopyTicket, Full, Journal, JournalOptions, Taken, Usage};
