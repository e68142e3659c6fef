//! The API of a site: the types that cross the wire, the paths they cross at, and a client.
//!
//! Wire types are apart from `model`'s, so that either may change without the other. JSON keys are snake_case; sizes are
//! bytes and times RFC 3339 in UTC. Errors are RFC 9457 problem documents with a stable [`Code`].

mod client;
mod hint;
mod problem;
mod site;
mod types;

pub use client::{
    ByteStream, Client, ClientError, ImageQuery, JobEvents, Lines, ShownOverNbd, SnapshotQuery,
};
pub use hint::shell_word;
pub use problem::{Code, Problem};
pub use site::{data_directory_default, socket_path};
pub use types::{
    AddCopy, AddGroupMember, AddKey, AddVm, AddedKey, AgentView, AttachVault, BackupRequest, BeginUpload,
    ChangeSettings, ChangeSourceView, CheckStatus, CheckView, CheckpointView, ChosenPoints, CleanUpTests,
    CollectRequest, CollectView, CopySnapshot, CopyState, CopyView, CostView, CreateDisk, CreatePolicy,
    CreateReplicationGroup, CreateSnapshot, CreateVault, CreateVm, CreatedSnapshot, CreatedVault, DamageView,
    DeletePoints, DeleteSnapshot, DependentDiskView, DiskState, DiskView, EditPolicy, EditReplication,
    EditReplicationGroup, ExportRequest, ExportedView, FailOver, FailoverPlanView, FailoverTestView,
    FailoverView, FileChange, FileChangeView, FileDifference, FileKind, FileStateView, FileView, FindingView,
    FollowedPolicyView, FollowerView, GroupCheckpointView, GroupFailoverPlanView, HalfRestoredView,
    HandedOverGroupView, HandedOverView, HealthReasonView, HeldView, HoldPoints, HurtDiskView, HurtPointView,
    HurtView, HydrateRequest, HydratedView, ImageExtentView, ImageExtentsView, JobResult, JobView, KeepRules,
    KeySlotView, LockSnapshot, MadeView, MakeCheckpoint, MakePairingToken, MakeRecoveryKit, NbdExportView,
    NbdRequest, NbdView, NewKeyWith, ObjectLockState, ObjectLockView, PairSite, PairingTokenView, PeerState,
    PeerView, PeerWays, PointDiskView, PointTestView, PointView, PolicyView, ProbeStore, ProbeView,
    ProgressView, ProtectRequest, ProtectionView, RecoveryKitView, RemovedPeerView, RepairRequest,
    RepairView, ReplicaDiskView, ReplicaGroupMemberView, ReplicaGroupView, ReplicaMomentView,
    ReplicaPointKind, ReplicaPointView, ReplicaStage, ReplicaState, ReplicaView, ReplicationGroupMemberView,
    ReplicationGroupState, ReplicationGroupView, ReplicationHealth, ReplicationState, ReplicationView,
    RestoreDiskRequest, RestoreFilesRequest, RestoreVmRequest, RestoredDiskView, RestoredFilesView,
    RestoredInPlaceView, RestoredVmView, RetainReplica, RetentionMode, RevertVm, RunsView, ScheduleSnapshots,
    SealUpload, SettingsView, SharedCheckpointView, SharedPointView, SiteDiskView, SiteView,
    SnapshotCopyView, SnapshotPage, SnapshotView, StartReplication, StopReplication, StopVm,
    StoppedReplicationView, SyncView, TagSnapshot, TestFailover, TestGroupFailover, TestPoint,
    UPLOAD_BLOCK_BYTES, UnlockVolumes, UnlockWith, UploadedBlockView, UploadedBlocksView, VaultView,
    VerdictView, VerifyRequest, VerifyView, VmOriginView, VmView, VolumeStateView, VolumeView,
};

/// The media type of problem documents, by RFC 9457 §3.
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";
