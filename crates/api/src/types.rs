//! The types that cross the wire, by what they are about.

mod copy;
mod deletion;
mod disk;
mod drill;
mod file;
mod group;
mod image;
mod job;
mod key;
mod peer;
mod plan;
mod point;
mod policy;
mod replica;
mod replica_settings;
mod replication;
mod restore;
mod runbook;
mod site;
mod snapshot;
mod upkeep;
mod upload;
mod vault;
mod vm;

pub use copy::{AddCopy, CopyState, CopyView, SyncView};
pub use deletion::{
    ChangeSettings, ChosenPoints, DeletePoints, HoldPoints, ObjectLockState, ObjectLockView, RetentionMode,
    SettingsView,
};
pub use disk::{CreateDisk, DiskState, SiteDiskView};
pub use drill::{
    DrillMeasureView, DrillReportFormat, DrillScheduleView, DrillStateView, DrillView, RunDrill,
    ScheduleDrill,
};
pub use file::{
    FileChange, FileChangeView, FileDifference, FileKind, FileStateView, FileView, UnlockVolumes,
    VolumeStateView, VolumeView,
};
pub use group::{
    AddGroupMember, CreateReplicationGroup, EditReplicationGroup, GroupCheckpointView, GroupFailoverPlanView,
    HandedOverGroupView, ReplicaGroupMemberView, ReplicaGroupView, ReplicationGroupMemberView,
    ReplicationGroupState, ReplicationGroupView, SharedCheckpointView, SharedPointView, TestGroupFailover,
};
pub use image::{
    ExportRequest, ExportedView, ImageExtentView, ImageExtentsView, NbdExportView, NbdRequest, NbdView,
};
pub use job::{JobResult, JobView, ProgressView};
pub use key::{AddKey, AddedKey, KeySlotView, MakeRecoveryKit, NewKeyWith, RecoveryKitView};
pub use peer::{
    MakePairingToken, PairSite, PairingTokenView, PeerState, PeerView, PeerWays, RemovedPeerView,
};
pub use plan::{
    CreatePlan, EditPlan, EditedPlanView, PlanAttemptView, PlanCommand, PlanCopyView, PlanFindingView,
    PlanLaneView, PlanPreviewView, PlanRunView, PlanStepView, PlanVersionView, PlanView, PlanVmView,
    PlanWaveView, RunPlan, TellPlanRun, ValidatePlan,
};
pub use point::{ChangeSourceView, CostView, PointDiskView, PointTestView, PointView, TestPoint};
pub use policy::{
    CreatePolicy, EditPolicy, FollowedPolicyView, FollowerView, KeepRules, MadeView, PolicyView, RunsView,
    VerdictView,
};
pub use replica::{
    BackUpReplica, CleanUpTests, FailOver, FailoverPlanView, FailoverTestView, FailoverView, ReplacedVmView,
    ReplicaDiskView, ReplicaMomentView, ReplicaPointKind, ReplicaPointView, ReplicaStage, ReplicaState,
    ReplicaView, RetainReplica, TestFailover,
};
pub use replica_settings::{
    ConnectNetwork, EditReplica, MapNetwork, MapNetworks, MappedNetworkView, ReplicaNetworkView,
    ReplicaSetting, ReplicaTargetView, SettingOrigin,
};
pub use replication::{
    CheckpointView, EditReplication, HandedOverView, HealthReasonView, MakeCheckpoint, ProofView,
    ProvenDiskView, ReplicationHealth, ReplicationState, ReplicationView, StartReplication, StopReplication,
    StoppedReplicationView,
};
pub use restore::{
    CreateVm, HydrateRequest, HydratedView, RestoreDiskRequest, RestoreFilesRequest, RestoreVmRequest,
    RestoredDiskView, RestoredFilesView, RestoredInPlaceView, RestoredVmView,
};
pub use runbook::{CreateRunbook, EditRunbook, ParameterView, RunbookTestView, RunbookView, TestRunbook};
pub use site::{CheckStatus, CheckView, SiteView};
pub use snapshot::{
    CopySnapshot, CreateSnapshot, CreatedSnapshot, DeleteSnapshot, LockSnapshot, RevertVm, ScheduleSnapshots,
    SnapshotCopyView, SnapshotPage, SnapshotView, TagSnapshot,
};
pub use upkeep::{
    CollectRequest, CollectView, FindingView, HeldView, HurtView, ProbeStore, ProbeView, RepairRequest,
    RepairView, VerifyRequest,
};
pub use upload::{BeginUpload, SealUpload, UPLOAD_BLOCK_BYTES, UploadedBlockView, UploadedBlocksView};
pub use vault::{
    AttachVault, CreateVault, CreatedVault, DamageView, HurtDiskView, HurtPointView, UnlockWith, VaultView,
    VerifyView,
};
pub use vm::{
    AddVm, AgentView, BackupRequest, DependentDiskView, DiskView, HalfRestoredView, ProtectRequest,
    ProtectionView, StopVm, VmOriginView, VmView,
};
