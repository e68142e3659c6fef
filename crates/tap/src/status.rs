//! What a tap tells of itself.

use std::path::PathBuf;

use journal::{DiskNumber, Generation, Position, Sequence, Usage};
use model::{DiskName, JournalId, Timestamp, VmId};
use serde::{Deserialize, Serialize};

use crate::wire::numbers::{
    DiskNumberNumber, GenerationNumber, PositionNumbers, SequenceNumber, UsageNumbers,
};

/// A stretch of a VM's writes in which the tap knows of none that passed by it. Another begins when the caller says so, when a
/// connection to one of the VM's disks ends, when the tap breaks, and when it starts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(#[serde(with = "SequenceNumber")] pub Sequence);

/// A disk that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedDisk {
    /// Its number in the journal.
    pub number: DiskNumber,
    /// The name of the NBD export that takes its writes.
    pub export: String,
    /// The epoch of its VM.
    pub epoch: Epoch,
}

/// What a tap tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapStatus {
    /// What the journal is called on both sides.
    pub journal_id: JournalId,
    /// Its generation.
    #[serde(with = "GenerationNumber")]
    pub generation: Generation,
    /// The process that takes writes.
    pub process_id: u32,
    /// When it began to.
    pub started_at: Timestamp,
    /// The socket of its NBD exports.
    pub nbd_socket: PathBuf,
    /// What the journal takes, and how far it is.
    #[serde(with = "UsageNumbers")]
    pub usage: Usage,
    /// The most that it may hold in memory.
    pub memory_limit_bytes: u64,
    /// The most that it may hold on disk.
    pub disk_limit_bytes: u64,
    /// Where the journal begins here: what is before was released.
    #[serde(with = "PositionNumbers")]
    pub start: Position,
    /// The disks, by number.
    pub disks: Vec<TapDisk>,
    /// The newest checkpoint that is durable here.
    pub checkpoint: Option<DurableCheckpoint>,
    /// Since when writes wait for room, if any do.
    pub stalled_since: Option<Timestamp>,
    /// Why VMs are shut out, if any are.
    pub broken: Option<Broken>,
    /// What was done since the process started.
    pub counts: Counts,
}

/// A disk of a tap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapDisk {
    /// Its number in the journal.
    #[serde(with = "DiskNumberNumber")]
    pub number: DiskNumber,
    /// Whose it is.
    pub vm_id: VmId,
    /// What the hypervisor calls it.
    pub name: DiskName,
    /// Its size.
    pub size_bytes: u64,
    /// The name of the NBD export that takes its writes.
    pub export: String,
    /// The epoch of its VM.
    pub epoch: Epoch,
    /// Whether the journal has everything that was written to it.
    pub is_whole: bool,
    /// NBD clients that are connected to it.
    pub clients: u32,
    /// Whether NBD clients may connect: not while its VM is shut out.
    pub accepts: bool,
}

/// A moment that was marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurableCheckpoint {
    /// Its record.
    #[serde(with = "SequenceNumber")]
    pub sequence: Sequence,
    /// When it was made.
    pub time: Timestamp,
}

/// The tap let the guests go on without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// When.
    pub since: Timestamp,
    /// Why, as a clause.
    pub reason: String,
    /// Those for which no epoch has begun since: nothing of theirs is taken.
    pub vms: Vec<VmId>,
}

/// What was done since the process started.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Writes and ranges of zeros that were taken.
    pub writes: u64,
    /// Bytes of data in them.
    pub written_bytes: u64,
    /// Writes that had to wait for room.
    pub waited_writes: u64,
    /// Times that the journal was made durable.
    pub flushes: u64,
    /// How long that took in all.
    pub flushing_us: u64,
    /// How long it took at most.
    pub flush_us_max: u64,
}
