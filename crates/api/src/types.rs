//! The types that cross the wire, by what they are about.

mod job;
mod point;
mod restore;
mod site;
mod vault;
mod vm;

pub use job::{JobResult, JobView, ProgressView};
pub use point::{ChangeSourceView, CostView, PointDiskView, PointView};
pub use restore::{RestoreDiskRequest, RestoreVmRequest, RestoredDiskView, RestoredVmView};
pub use site::{CheckStatus, CheckView, SiteView};
pub use vault::{
    AttachVault, CreateVault, CreatedVault, DamageView, HurtDiskView, HurtPointView, UnlockWith, VaultView,
    VerifyView,
};
pub use vm::{
    AddVm, AgentView, BackupRequest, DiskView, ProtectRequest, ProtectionView, StopVm, VmOriginView, VmView,
};
