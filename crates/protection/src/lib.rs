//! Backup, snapshots, restore, export and verification: the operations that join a capture to a vault.
//!
//! This crate knows engines and seams, never an adapter's inside and never HTTP. An operation takes what it works on as
//! arguments, tells a [`Monitor`] how far it is, and leaves nothing half-done behind: a backup that fails is no point, a
//! restore that fails is no file.

mod backup;
mod error;
mod export;
mod guest_files;
mod image_file;
mod kept_backup;
mod moment;
mod monitor;
mod points;
mod restore;
mod snapshot;
mod storing;
mod treatment;
mod uefi;
mod verify;

pub use backup::{BackupOrder, backup};
pub use error::{Error, ErrorKind, Result};
pub use export::{DiskExport, ExportedDisk, export_disk};
pub use guest_files::{GuestFilesOrder, RestoredGuestFiles, restore_guest_files};
pub use kept_backup::{KeptBackup, back_up_kept};
pub use moment::Moment;
pub use monitor::{Monitor, vault_monitor};
pub use points::{latest_baseline, select_point};
pub use restore::{
    Backing, DiskRestore, HeldPoint, InPlaceDisk, InPlaceOrder, InPlaceRestore, NewOverlay, RestoreSource,
    RestoredDisk, RestoredVm, VmRestore, discard_partial, partial_path, place_partial, restore_disk,
    restore_vm,
};
pub use snapshot::{SnapshotOrder, SnapshotRun};
pub use treatment::Treatment;
pub use uefi::variable_store;
pub use verify::verify;

#[cfg(test)]
mod tests;
