//! Restores: the disks of a recovery point become image files, alone or as a new VM.
//!
//! A restore writes beside the file that it makes, checks every chunk on the way, makes the bytes durable, and renames.
//! So a file with the asked name is whole, and a [`partial_path`] is what a dead restore left. An [`InPlaceRestore`] alone
//! overwrites what is there.

mod disk;
mod in_place;
mod overlay;
mod partial;
mod source;
mod vm;

use std::path::PathBuf;

use model::{ByteCount, DiskFormat, DiskName};

pub use disk::{DiskRestore, restore_disk};
pub(crate) use disk::{place, prepare_place};
pub use in_place::{InPlaceDisk, InPlaceOrder, InPlaceRestore};
pub use overlay::{NewOverlay, place_partial};
pub use partial::{discard_partial, partial_path};
pub use source::{HeldPoint, RestoreSource};
pub use vm::{Backing, RestoredVm, VmRestore, restore_vm};

/// A disk that was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredDisk {
    /// Its name within the VM.
    pub name: DiskName,
    /// The file.
    pub path: PathBuf,
    /// The file's format.
    pub format: DiskFormat,
    /// The virtual size.
    pub size_bytes: ByteCount,
    /// Bytes of data that were written; holes are not.
    pub written_bytes: ByteCount,
}
