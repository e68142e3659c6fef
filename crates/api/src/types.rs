//! The types that cross the wire, by what they are about.

mod copy;
mod deletion;
mod file;
mod image;
mod job;
mod key;
mod peer;
mod point;
mod policy;
mod restore;
mod site;
mod snapshot;
mod upkeep;
mod vault;
mod vm;

pub use copy::{AddCopy, CopyState, CopyView, SyncView};
pub use deletion::{
    ChangeSettings, ChosenPoints, DeletePoints, HoldPoints, ObjectLockState, ObjectLockView, RetentionMode,
    SettingsView,
};
pub use file::{FileKind, FileView, UnlockVolumes, VolumeStateView, VolumeView};
pub use image::{ExportRequest, ExportedView, ImageExtentView, ImageExtentsView};
pub use job::{JobResult, JobView, ProgressView};
pub use key::{AddKey, AddedKey, KeySlotView, MakeRecoveryKit, NewKeyWith, RecoveryKitView};
pub use peer::{
    MakePairingToken, PairSite, PairingTokenView, PeerState, PeerView, PeerWays, RemovedPeerView,
};
pub use point::{ChangeSourceView, CostView, PointDiskView, PointTestView, PointView, TestPoint};
pub use policy::{
    CreatePolicy, EditPolicy, FollowedPolicyView, FollowerView, KeepRules, MadeView, PolicyView, RunsView,
    VerdictView,
};
pub use restore::{
    BootRequest, HydrateRequest, HydratedView, RestoreDiskRequest, RestoreVmRequest, RestoredDiskView,
    RestoredInPlaceView, RestoredVmView,
};
pub use site::{CheckStatus, CheckView, SiteView};
pub use snapshot::{
    CreateSnapshot, CreatedSnapshot, DeleteSnapshot, LockSnapshot, ScheduleSnapshots, SnapshotPage,
    SnapshotView, TagSnapshot,
};
pub use upkeep::{
    CollectRequest, CollectView, FindingView, HeldView, HurtView, ProbeStore, ProbeView, RepairRequest,
    RepairView, VerifyRequest,
};
pub use vault::{
    AttachVault, CreateVault, CreatedVault, DamageView, HurtDiskView, HurtPointView, UnlockWith, VaultView,
    VerifyView,
};
pub use vm::{
    AddVm, AgentView, BackupRequest, DependentDiskView, DiskView, HalfRestoredView, ProtectRequest,
    ProtectionView, StopVm, VmOriginView, VmView,
};
