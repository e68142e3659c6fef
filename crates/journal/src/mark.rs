//! Marks: records that change no byte of a disk, but say something of the moment.

use model::{DiskName, Timestamp, VmId};

use crate::{
    DiskNumber, Result, Sequence,
    codec::{Reader, put_text, put_time},
};

/// The longest name of a checkpoint, in bytes.
pub const CHECKPOINT_NAME_BYTES_MAX: usize = 255;

/// Why a moment was marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckpointKind {
    /// By the clock.
    Crash,
    /// While the applications in the guest held still.
    Application,
    /// Somebody gave it a name.
    Bookmark,
    /// At the same moment in the journals of all members of a consistency group.
    Group,
}

/// A named moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Why it was marked.
    pub kind: CheckpointKind,
    /// The VM whose moment it is; none when it is that of all.
    pub vm: Option<VmId>,
    /// A bookmark's name, or the name that all members of a group have for the moment; may be empty.
    pub name: String,
}

/// What a mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// This moment has a name.
    Checkpoint(Checkpoint),
    /// From here on there are writes to one more disk, which is zeros and not whole.
    DiskAdded {
        /// Its number, above all that were given before.
        disk: DiskNumber,
        /// Whose it is.
        vm: VmId,
        /// What the hypervisor calls it.
        name: DiskName,
        /// Its size, a multiple of 512.
        size_bytes: u64,
    },
    /// The disk has another size. What is cut off is gone; what is added is zeros.
    DiskResized {
        /// Which.
        disk: DiskNumber,
        /// Its new size, a multiple of 512.
        size_bytes: u64,
    },
    /// The disk is gone.
    DiskRemoved {
        /// Which.
        disk: DiskNumber,
    },
    /// Writes to the disks of this VM may have been missed: none of them is whole.
    EpochBegun {
        /// Whose.
        vm: VmId,
    },
    /// What the journal lacked of the disk has been copied into it: from here on it is whole.
    DiskWhole {
        /// Which.
        disk: DiskNumber,
    },
}

impl Mark {
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Checkpoint(checkpoint) => {
                let kind = match checkpoint.kind {
                    CheckpointKind::Crash => 0,
                    CheckpointKind::Application => 1,
                    CheckpointKind::Bookmark => 2,
                    CheckpointKind::Group => 3,
                };
                bytes.extend([1, kind, u8::from(checkpoint.vm.is_some())]);
                if let Some(vm) = checkpoint.vm {
                    bytes.extend(vm.as_str().as_bytes());
                }
                put_text(bytes, &checkpoint.name);
            }
            Self::DiskAdded { disk, vm, name, size_bytes } => {
                bytes.push(2);
                bytes.extend(disk.0.to_le_bytes());
                bytes.extend(vm.as_str().as_bytes());
                bytes.extend(size_bytes.to_le_bytes());
                put_text(bytes, name.as_str());
            }
            Self::DiskResized { disk, size_bytes } => {
                bytes.push(3);
                bytes.extend(disk.0.to_le_bytes());
                bytes.extend(size_bytes.to_le_bytes());
            }
            Self::DiskRemoved { disk } => {
                bytes.push(4);
                bytes.extend(disk.0.to_le_bytes());
            }
            Self::EpochBegun { vm } => {
                bytes.push(5);
                bytes.extend(vm.as_str().as_bytes());
            }
            Self::DiskWhole { disk } => {
                bytes.push(6);
                bytes.extend(disk.0.to_le_bytes());
            }
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, "a mark");
        let mark = match reader.u8()? {
            1 => {
                let kind = match reader.u8()? {
                    0 => CheckpointKind::Crash,
                    1 => CheckpointKind::Application,
                    2 => CheckpointKind::Bookmark,
                    3 => CheckpointKind::Group,
                    _ => return Err(reader.error("is a checkpoint of an unknown kind")),
                };
                let vm = match reader.u8()? {
                    0 => None,
                    _ => Some(reader.id()?),
                };
                let name: String = reader.text()?;
                if name.len() > CHECKPOINT_NAME_BYTES_MAX {
                    return Err(reader.error("has a name that is too long"));
                }
                Self::Checkpoint(Checkpoint { kind, vm, name })
            }
            2 => {
                let (disk, vm, size_bytes) = (DiskNumber(reader.u32()?), reader.id()?, reader.u64()?);
                Self::DiskAdded { disk, vm, name: reader.text()?, size_bytes }
            }
            3 => Self::DiskResized { disk: DiskNumber(reader.u32()?), size_bytes: reader.u64()? },
            4 => Self::DiskRemoved { disk: DiskNumber(reader.u32()?) },
            5 => Self::EpochBegun { vm: reader.id()? },
            6 => Self::DiskWhole { disk: DiskNumber(reader.u32()?) },
            _ => return Err(reader.error("is of an unknown kind")),
        };
        reader.finish()?;
        Ok(mark)
    }
}

/// A mark and its moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkRecord {
    /// Its place in the order.
    pub sequence: Sequence,
    /// When it was made, by the source's clock.
    pub time: Timestamp,
    /// What it says.
    pub mark: Mark,
}

/// Bytes that a mark takes at least in a list.
const MARK_RECORD_BYTES: usize = 18;

pub(crate) fn encode_marks(marks: &[MarkRecord]) -> Vec<u8> {
    let mut bytes = (marks.len() as u32).to_le_bytes().to_vec();
    for record in marks {
        bytes.extend(record.sequence.0.to_le_bytes());
        put_time(&mut bytes, record.time);
        let mut mark = Vec::new();
        record.mark.encode(&mut mark);
        bytes.extend((mark.len() as u16).to_le_bytes());
        bytes.extend(mark);
    }
    bytes
}

pub(crate) fn decode_marks(bytes: &[u8]) -> Result<Vec<MarkRecord>> {
    let mut reader = Reader::new(bytes, "a list of marks");
    let count = reader.count(MARK_RECORD_BYTES)?;
    let mut marks = Vec::with_capacity(count);
    for _ in 0..count {
        let (sequence, time, length) = (Sequence(reader.u64()?), reader.time()?, reader.u16()?);
        let mark = Mark::decode(reader.take(usize::from(length))?)?;
        marks.push(MarkRecord { sequence, time, mark });
    }
    reader.finish()?;
    Ok(marks)
}
