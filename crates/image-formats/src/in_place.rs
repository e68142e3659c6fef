//! Image files that are overwritten where they lie.

use std::{path::Path, sync::Arc};

use image::DiskImage;
use model::DiskFormat;

use crate::{FileTarget, Qcow2Target, RawTarget, Result, Usage, info};

/// An image file at rest, read and written under one lock: no VM can start from it for as long as this lives.
pub struct OverwrittenFile {
    /// What it holds. Unlike any other image it changes, where `target` is written: read a range before you write it.
    pub present: Arc<dyn DiskImage>,
    /// What is written to it. To be finished after `present` is let go of.
    pub target: Box<dyn FileTarget>,
}

/// Opens an image file of a known format to be overwritten. Its size stays as it is.
///
/// # Errors
/// As [`RawTarget::open_existing`] and [`Qcow2Target::open_existing`].
pub async fn open_in_place(path: &Path, format: DiskFormat) -> Result<OverwrittenFile> {
    match format {
        DiskFormat::Raw => {
            let size_bytes = info(path, format, Usage::AtRest).await?.size_bytes;
            let target = RawTarget::open_existing(path, size_bytes).await?;
            Ok(OverwrittenFile { present: Arc::new(target.image(path).await?), target: Box::new(target) })
        }
        DiskFormat::Qcow2 => {
            let (target, present) = Qcow2Target::open_existing(path).await?;
            Ok(OverwrittenFile { present, target: Box::new(target) })
        }
    }
}
