//! Jobs.

use model::{JobId, JobKind, JobState, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    CollectView, DrillView, ExportedView, HandedOverGroupView, HandedOverView, HydratedView, PlanRunView,
    PointTestView, PointView, RepairView, RestoredDiskView, RestoredFilesView, RestoredInPlaceView,
    RestoredVmView, RunbookTestView, SiteDiskView, SnapshotCopyView, SnapshotView, SyncView, VerifyView,
};
use crate::Problem;

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// The job.
    #[schema(value_type = String)]
    pub id: JobId,
    /// What it does: backup, snapshot, restore-vm, boot, failover-test, failover, change-point, hand-over, plan-run, drill, create-vm, create-disk, hydrate, test, test-runbook, restore-disk, restore-files, export,
    /// verify, gc, copy or repair.
    #[schema(value_type = String)]
    pub kind: JobKind,
    /// What it does it to, in words: a VM's name, a reference, a vault's name.
    pub subject: String,
    /// queued, running, succeeded, failed or cancelled.
    #[schema(value_type = String)]
    pub state: JobState,
    /// When it was asked for.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When its work began.
    #[schema(value_type = Option<String>)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>)]
    pub ended_at: Option<Timestamp>,
    /// How far it is.
    pub progress: ProgressView,
    /// What it did, once it has succeeded.
    pub result: Option<JobResult>,
    /// Why it failed.
    pub problem: Option<Problem>,
    /// Things that the operator should know although the job went on.
    pub warnings: Vec<String>,
}

/// How far a job is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProgressView {
    /// What it does now.
    pub phase: String,
    /// Bytes dealt with in this phase.
    pub done_bytes: u64,
    /// Bytes to deal with in this phase, where known.
    pub total_bytes: Option<u64>,
}

/// What a job did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobResult {
    /// The recovery point that a backup made.
    Point(Box<PointView>),
    /// The snapshot that was made.
    Snapshot(Box<SnapshotView>),
    /// The copy of a snapshot that has arrived.
    SnapshotCopied(SnapshotCopyView),
    /// The VM that was restored, or made from an image.
    RestoredVm(RestoredVmView),
    /// The disk that was made.
    CreatedDisk(SiteDiskView),
    /// The VM that runs at another site now.
    HandedOver(HandedOverView),
    /// What came of a drill; also of one that has failed or was cancelled, whose job has.
    Drilled(Box<DrillView>),
    /// The run of a plan; also of one that has failed or was cancelled, whose job has.
    PlanRun(Box<PlanRunView>),
    /// The VMs of a group that run at another site now.
    HandedOverGroup(HandedOverGroupView),
    /// The VM whose disks are whole, or the disk.
    Hydrated(HydratedView),
    /// How a recovery point did; also of one that did not work, whose job has failed.
    Tested(PointTestView),
    /// How a runbook did; also of one that failed, whose job has failed.
    RunbookTested(Box<RunbookTestView>),
    /// The disk that was restored.
    RestoredDisk(RestoredDiskView),
    /// The VM of which disks were overwritten in place.
    RestoredInPlace(RestoredInPlaceView),
    /// The files that were put into a guest.
    RestoredFiles(RestoredFilesView),
    /// The file that was exported.
    Exported(ExportedView),
    /// What a verification found; also of one that found damage, whose job has failed.
    Verified(VerifyView),
    /// What a garbage collection did, or would do.
    Collected(CollectView),
    /// What was brought to a copy.
    Synced(SyncView),
    /// What a repair did, or would do; also of one that left damage, whose job has failed.
    Repaired(Box<RepairView>),
}
