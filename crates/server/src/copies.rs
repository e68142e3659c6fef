//! Copies of vaults, kept up to date: after each backup, when the server starts, and when somebody asks.
//!
//! At most one job works on a copy. Whoever wants the copy brought up to date meanwhile makes that job look once more before
//! it ends. A copy that fails warns, and is tried again at the next occasion that is late enough; it never fails a backup.

mod known;
mod sync;
mod view;

pub(crate) use self::{
    known::{add, find, find_anywhere, remove},
    sync::{sync, sync_behind, sync_behind_of},
    view::{glance, view},
};

/// Which copies are being brought up to date.
pub(crate) type Syncs = crate::turns::Turns<(model::VaultId, model::CopyName)>;

/// The right to bring a copy up to date.
pub(crate) type Turn = crate::turns::Turn<(model::VaultId, model::CopyName)>;
