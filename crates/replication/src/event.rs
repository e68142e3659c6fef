//! What comes to pass, and the words for it.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// A stretch of time in which the journal was handed all writes of a VM, or was to be; at intervals an epoch. Counted from 1.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attachment(pub u64);

/// A span of change tracking, as the hypervisor counts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// A record of the journal, by its place in the order.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record(pub u64);

/// What somebody wants.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// That the VM is replicated.
    #[default]
    Replicate,
    /// That it is not for now: what is written is tracked.
    Pause,
}

/// Why the tap is not there, and when it is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The VM does not run.
    VmStopped,
    /// Something else works on the VM.
    Busy(String),
    /// The hypervisor cannot do it.
    Unsupported(String),
    /// The journal takes nothing more.
    JournalFull,
    /// It broke, or could not be begun.
    Broken(String),
}

/// Why an attachment ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The VM has ended. Everything that it wrote was taken.
    VmStopped,
    /// It has other disks, or one has another size.
    DisksChanged,
    /// The tap gave up because the journal was full.
    JournalFull,
    /// Writes are missed, and why.
    Broken(String),
    /// The process that holds the journal is gone, and with it what was not durable.
    TapLost(String),
}

/// What has come to pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// Somebody wants this.
    Want(Wish),
    /// From here on the journal is handed every write, or a moment is held. `is_partial` when the disks were whole in it before.
    Attached {
        /// Which.
        attachment: Attachment,
        /// Whether the disks were whole in it before, so that it has moments that stay.
        is_partial: bool,
    },
    /// It is not, and why.
    NotAttached(Attachment, Obstacle),
    /// What the journal lacked has been copied.
    Copied(Attachment),
    /// It could not be.
    NotCopied(Attachment, String),
    /// An epoch has begun; all records until this one were taken in before I was told.
    EpochBegun {
        /// In which.
        attachment: Attachment,
        /// The epoch.
        epoch: Epoch,
        /// The newest record that was taken in, looked at after the epoch had begun.
        through: Record,
    },
    /// None could begin now.
    NoEpoch(Attachment),
    /// The journal says that the disks are whole.
    Declared(Attachment),
    /// It does not.
    NotDeclared(Attachment, String),
    /// At intervals: the journal has closed the epoch.
    Closed {
        /// Which attachment.
        attachment: Attachment,
        /// What is tracked since its moment.
        epoch: Epoch,
        /// The record that closes it.
        through: Record,
        /// The VM did not run at that moment.
        is_at_rest: bool,
    },
    /// At intervals: how often, from now on.
    Every(Duration),
    /// The journal is durable through this record.
    Durable(Record),
    /// The catalog has this trusted epoch.
    Kept(Epoch),
    /// An attachment has ended.
    Ended(Attachment, End),
    /// There is room in the journal.
    Room,
    /// The VM may run now, or may be busy no more.
    VmChanged,
    /// The journal is new, or was lost: it has nothing.
    JournalEmpty,
    /// The process that held the journal is gone, and with it what was not durable.
    TapLost,
    /// The other site has taken the VM over, and why this one must not go on.
    Fenced(String),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VmStopped => formatter.write_str("the VM does not run"),
            Self::JournalFull => formatter.write_str("the journal is full: the other site does not keep up"),
            Self::Busy(why) | Self::Unsupported(why) | Self::Broken(why) => formatter.write_str(why),
        }
    }
}
