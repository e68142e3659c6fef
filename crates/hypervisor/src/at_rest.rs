//! Disks of VMs that do not run.

use std::{path::PathBuf, sync::Arc};

use image::DiskImage;
use model::DiskName;

/// A disk of a VM that does not run, to be read.
#[derive(Clone)]
pub struct DiskAtRest {
    /// The disk.
    pub name: DiskName,
    /// What it holds. Where its file can be locked against writers, it is until this is dropped.
    pub image: Arc<dyn DiskImage>,
    /// Its file, where that holds just the disk's bytes.
    pub raw_file: Option<PathBuf>,
}
