//! The control protocol: what is asked of a tap, and what it answers.
//!
//! One question at a time on a connection, each with one answer. The first is [`Ask::Hello`]. See [`frame`] for the bytes.

pub(crate) mod frame;
pub(crate) mod numbers;
mod parts;

use journal::{Checkpoint, CheckpointKind, Copied, DiskNumber, Position, SegmentNumber, Sequence};
use model::{DiskName, Timestamp, VmId};
use serde::{Deserialize, Serialize};

use crate::{Epoch, Error, ErrorKind, TapStatus, error::told};
use numbers::{DiskNumberNumber, PositionNumbers, SegmentNumberNumber, SequenceNumber};
pub(crate) use parts::{PartHead, join, split};

/// The version of the protocol.
pub(crate) const PROTOCOL: u32 = 1;

/// The longest range that is copied at once, in bytes.
pub const COPY_BYTES_MAX: u64 = 4 << 20;

/// What parts are answered at once, in bytes, and one more.
pub const PARTS_BYTES_MAX: u64 = 8 << 20;

/// How long acknowledgements are held at most, in milliseconds.
pub const HOLD_MS_MAX: u64 = 1000;

/// How long parts are waited for at most, in milliseconds.
pub(crate) const WAIT_MS_MAX: u64 = 60_000;

/// A question.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ask {
    /// The first: which version is spoken.
    Hello {
        protocol: u32,
    },
    Status,
    AddDisk {
        vm: VmId,
        name: DiskName,
        size_bytes: u64,
    },
    ResizeDisk {
        #[serde(with = "DiskNumberNumber")]
        disk: DiskNumber,
        size_bytes: u64,
    },
    RemoveDisk {
        #[serde(with = "DiskNumberNumber")]
        disk: DiskNumber,
    },
    BeginEpoch {
        vm: VmId,
    },
    BeginEpochAt {
        vm: VmId,
        moment: Timestamp,
    },
    DiskIsWhole {
        #[serde(with = "DiskNumberNumber")]
        disk: DiskNumber,
        epoch: Epoch,
    },
    /// The copy belongs to the connection, and is given up when that ends.
    BeginCopy {
        #[serde(with = "DiskNumberNumber")]
        disk: DiskNumber,
        offset_bytes: u64,
        length_bytes: u64,
    },
    /// The body has the data, if it is data.
    FinishCopy {
        copied: CopiedKind,
    },
    Checkpoint {
        kind: Kind,
        vm: Option<VmId>,
        name: String,
    },
    Durable {
        #[serde(with = "SequenceNumber")]
        sequence: Sequence,
    },
    Parts {
        #[serde(with = "PositionNumbers")]
        from: Position,
        most_bytes: u64,
        wait_ms: u64,
    },
    PositionAfter {
        #[serde(with = "SequenceNumber")]
        sequence: Sequence,
    },
    Start,
    Release {
        #[serde(with = "SegmentNumberNumber")]
        before: SegmentNumber,
    },
    /// The hold belongs to the connection, and ends when that does.
    Hold {
        most_ms: u64,
    },
    LetGo,
    GiveUp {
        reason: String,
    },
    ShutDown,
}

/// What was read for a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CopiedKind {
    Data,
    Zero,
    Nothing,
}

impl CopiedKind {
    pub(crate) fn of(copied: &Copied<'_>) -> Self {
        match copied {
            Copied::Data(_) => Self::Data,
            Copied::Zero => Self::Zero,
            Copied::Nothing => Self::Nothing,
        }
    }

    pub(crate) fn with(self, data: &[u8]) -> Copied<'_> {
        match self {
            Self::Data => Copied::Data(data),
            Self::Zero => Copied::Zero,
            Self::Nothing => Copied::Nothing,
        }
    }
}

/// Why a moment is marked.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Crash,
    Application,
    Bookmark,
    Group,
}

impl Ask {
    pub(crate) fn checkpoint(checkpoint: Checkpoint) -> Self {
        let kind = match checkpoint.kind {
            CheckpointKind::Crash => Kind::Crash,
            CheckpointKind::Application => Kind::Application,
            CheckpointKind::Bookmark => Kind::Bookmark,
            CheckpointKind::Group => Kind::Group,
        };
        Self::Checkpoint { kind, vm: checkpoint.vm, name: checkpoint.name }
    }
}

impl From<Kind> for CheckpointKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Crash => Self::Crash,
            Kind::Application => Self::Application,
            Kind::Bookmark => Self::Bookmark,
            Kind::Group => Self::Group,
        }
    }
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Hello {
        protocol: u32,
        process_id: u32,
    },
    Status(Box<TapStatus>),
    Disk {
        #[serde(with = "DiskNumberNumber")]
        number: DiskNumber,
        export: String,
        epoch: Epoch,
    },
    Epoch(Epoch),
    Sequence(#[serde(with = "SequenceNumber")] Sequence),
    Position(#[serde(with = "PositionNumbers")] Position),
    /// The body has their bytes, one behind the other.
    Parts(Vec<PartHead>),
    LetGo {
        was_held: bool,
    },
    Done,
    Failed(Failure),
}

/// An error on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) context: String,
    pub(crate) guidance: Option<String>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind(), context: told(error), guidance: error.guidance().map(str::to_owned) }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let error = Self::new(failure.kind, failure.context);
        match failure.guidance {
            Some(guidance) => error.with_guidance(guidance),
            None => error,
        }
    }
}
