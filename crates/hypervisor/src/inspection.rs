//! What a look at a VM finds.

use std::path::PathBuf;

use model::{ByteCount, CaptureId, DiskFormat, DiskName, VmDefinition};

/// What a look at a VM finds.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Whether it runs.
    pub power: Power,
    /// The hypervisor and its version, such as "QEMU 7.2.22".
    pub hypervisor: String,
    /// The definition, as far as it can be discovered.
    pub definition: VmDefinition,
    /// The disks that a capture would hold.
    pub disks: Vec<DiskInspection>,
    /// Whether the guest agent answers.
    pub agent: AgentState,
    /// What cannot be done with this VM and why, a sentence each.
    pub limits: Vec<String>,
}

/// Whether a VM runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// The guest runs.
    Running,
    /// QEMU runs, the guest stands still.
    Paused,
    /// There is no process.
    Stopped,
}

/// Whether the guest agent answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentState {
    /// It does; the version it gave.
    Answers(String),
    /// It does not; why.
    Silent(String),
    /// The VM has no channel for it.
    NoChannel,
}

/// One disk of a VM.
#[derive(Debug, Clone)]
pub struct DiskInspection {
    /// The disk.
    pub name: DiskName,
    /// The image file or device.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
    /// Its virtual size.
    pub size_bytes: ByteCount,
    /// Whether changes are tracked.
    pub tracking: Tracking,
}

/// Whether the changes of a disk are tracked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tracking {
    /// Since this capture.
    Since(CaptureId),
    /// No.
    Off,
    /// There is a bitmap, but it cannot be trusted; why.
    Broken(String),
}
