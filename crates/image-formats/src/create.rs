//! New image files in any format.

use std::path::Path;

use async_trait::async_trait;
use image::DiskTarget;
use model::DiskFormat;

use crate::{Qcow2Target, RawTarget, Result};

/// An image file that is being written.
#[async_trait]
pub trait FileTarget: DiskTarget {
    /// Makes everything durable and lets go of the file: when this returns, a VM can start from it. A target that is
    /// dropped instead leaves a file behind that is not an image of anything.
    async fn finish(self: Box<Self>) -> image::Result<()>;
}

/// Creates an image file that reads as zero. Only its owner may read it.
///
/// # Errors
/// As [`RawTarget::create`] and [`Qcow2Target::create`].
pub async fn create_target(path: &Path, format: DiskFormat, size_bytes: u64) -> Result<Box<dyn FileTarget>> {
    Ok(match format {
        DiskFormat::Raw => Box::new(RawTarget::create(path, size_bytes).await?),
        DiskFormat::Qcow2 => Box::new(Qcow2Target::create(path, size_bytes).await?),
    })
}
