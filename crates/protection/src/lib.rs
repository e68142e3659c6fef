//! Backup, restore, export and verification: the operations that join a capture to a vault.
//!
//! This crate knows engines and seams, never an adapter's inside and never HTTP. An operation takes what it works on as
//! arguments, tells a [`Monitor`] how far it is, and leaves nothing half-done behind: a backup that fails is no point, a
//! restore that fails is no file.

mod backup;
mod error;
mod export;
mod monitor;
mod points;
mod restore;
mod uefi;
mod verify;

pub use backup::{BackupOrder, backup};
pub use error::{Error, ErrorKind, Result};
pub use export::{DiskExport, ExportedDisk, export_disk};
pub use monitor::{Monitor, vault_monitor};
pub use points::{latest_capture, select_point};
pub use restore::{
    Backing, DiskRestore, InPlaceDisk, InPlaceOrder, InPlaceRestore, NewOverlay, RestoredDisk, RestoredVm,
    VmRestore, discard_partial, partial_path, place_partial, restore_disk, restore_vm,
};
pub use uefi::variable_store;
pub use verify::verify;

#[cfg(test)]
mod tests;
