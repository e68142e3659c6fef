//! Long work and how far it is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Capture a VM and put it into its vault.
    Backup,
    /// Make a managed snapshot.
    Snapshot,
    /// Build a new VM from a recovery point.
    RestoreVm,
    /// Build a VM on an image at once, and start it.
    Boot,
    /// Build a VM on an image at once.
    CreateVm,
    /// Make a disk that reads from an image at first.
    CreateDisk,
    /// Make disks whole that read from images.
    Hydrate,
    /// Boot a recovery point in isolation, to see whether it works.
    TestPoint,
    /// Run a runbook once.
    TestRunbook,
    /// Make a VM from a moment of a replica, to see whether it works.
    TestFailover,
    /// Have a replicated VM run at this site.
    FailOver,
    /// Have a VM that was failed over run from another moment.
    ChangePoint,
    /// Stop a replicated VM here, and have it run at the other site.
    HandOver,
    /// Carry a recovery plan out.
    RunPlan,
    /// Test a recovery plan, remove what came up, and keep a report.
    Drill,
    /// Write one disk of a recovery point to an image file.
    RestoreDisk,
    /// Put files of an image into a running guest.
    RestoreFiles,
    /// Write an image to a file of any format.
    Export,
    /// Read a vault back and check every byte.
    Verify,
    /// Collect a vault's garbage.
    Collect,
    /// Bring a copy of a vault up to date.
    Copy,
    /// Heal what is damaged in a vault.
    Repair,
}

impl JobKind {
    const ALL: [Self; 22] = [
        Self::TestFailover,
        Self::FailOver,
        Self::ChangePoint,
        Self::HandOver,
        Self::RunPlan,
        Self::Drill,
        Self::TestPoint,
        Self::TestRunbook,
        Self::Backup,
        Self::Snapshot,
        Self::RestoreVm,
        Self::Boot,
        Self::CreateVm,
        Self::CreateDisk,
        Self::Hydrate,
        Self::RestoreDisk,
        Self::RestoreFiles,
        Self::Export,
        Self::Verify,
        Self::Collect,
        Self::Copy,
        Self::Repair,
    ];

    /// The kind in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Snapshot => "snapshot",
            Self::RestoreVm => "restore-vm",
            Self::Boot => "boot",
            Self::CreateVm => "create-vm",
            Self::CreateDisk => "create-disk",
            Self::Hydrate => "hydrate",
            Self::TestPoint => "test",
            Self::TestRunbook => "test-runbook",
            Self::TestFailover => "failover-test",
            Self::FailOver => "failover",
            Self::ChangePoint => "change-point",
            Self::HandOver => "hand-over",
            Self::RunPlan => "plan-run",
            Self::Drill => "drill",
            Self::RestoreDisk => "restore-disk",
            Self::RestoreFiles => "restore-files",
            Self::Export => "export",
            Self::Verify => "verify",
            Self::Collect => "gc",
            Self::Copy => "copy",
            Self::Repair => "repair",
        }
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for JobKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a kind of job"))
    }
}

/// Where a job is in its life: queued, then running, then one of the rest for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// Waiting for its turn; the job's phase says what it waits for.
    Queued,
    /// At work.
    Running,
    /// Done, all of it.
    Succeeded,
    /// Ended with an error; nothing half-done is left behind, or the error says what is.
    Failed,
    /// Ended because somebody asked for it.
    Cancelled,
}

impl JobState {
    /// The state in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the job will never change again.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for JobState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a job state"))
    }
}

/// How far a job is. A later progress of the same phase never has a smaller `done_bytes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progress {
    /// What the job does now, in a few words: "freezing", "reading vroot".
    pub phase: String,
    /// Bytes dealt with in this phase.
    pub done_bytes: u64,
    /// Bytes to deal with in this phase, where known.
    pub total_bytes: Option<u64>,
}
