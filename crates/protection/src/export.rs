//! Any image becomes a file that other programs read.

use std::{fs, os::unix::fs::FileTypeExt as _, path::PathBuf, sync::Arc};

use image::DiskImage;
use image_formats::{Export, export_image};
use model::{ByteCount, ImageFormat, Progress};

use crate::{
    Monitor, Result,
    error::Context as _,
    restore::{discard_partial, partial_path, place, prepare_place},
};

/// What to make of an image, and where.
#[derive(Debug, Clone)]
pub struct DiskExport {
    /// The file to make, or the block device to write to.
    pub path: PathBuf,
    /// Its format.
    pub format: ImageFormat,
    /// Whether its data is compressed.
    pub compress: bool,
    /// Whether a file that exists may be replaced. A block device is always overwritten: whoever asks has agreed.
    pub replace: bool,
}

/// A file that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedDisk {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: ImageFormat,
    /// The virtual size of the image.
    pub size_bytes: ByteCount,
    /// The space that the file takes.
    pub allocated_bytes: ByteCount,
}

/// Writes an image to a file of any format. When this returns, the file is whole and durable. A file gets its name only
/// then, and after an error there is none; a block device is left half-written by an error.
///
/// # Errors
/// [`crate::ErrorKind::Exists`] before any work when the file exists and may not be replaced.
pub async fn export_disk(
    image: Arc<dyn DiskImage>,
    order: &DiskExport,
    monitor: &Arc<dyn Monitor>,
) -> Result<ExportedDisk> {
    let size_bytes = image.size_bytes();
    let shown = order.path.display();
    let is_device = fs::metadata(&order.path).is_ok_and(|metadata| metadata.file_type().is_block_device());
    let written = if is_device { order.path.clone() } else { partial_path(&order.path) };
    if !is_device {
        prepare_place(&order.path, order.replace).await?;
    }
    let export = Export { path: written.clone(), format: order.format, compress: order.compress };
    let progress = |part: f64| {
        let done_bytes = (size_bytes as f64 * part) as u64;
        let phase = format!("writing {shown}");
        monitor.progress(Progress { phase, done_bytes, total_bytes: Some(size_bytes) });
    };
    let exporting = monitor.cancellation().run_until_cancelled(export_image(image, &export, progress)).await;
    let exported = exporting
        .ok_or_else(crate::Error::cancelled)
        .and_then(|exported| exported.context(format!("{shown} could not be written")));
    let placed = match exported {
        Ok(()) if is_device => Ok(()),
        Ok(()) => place(&order.path, order.replace).await,
        Err(error) => Err(error),
    };
    if let (Err(_), false) = (&placed, is_device) {
        // What cannot be removed has a name that says what it is.
        let _ = discard_partial(&order.path);
    }
    placed?;
    let allocated_bytes = fs::metadata(&order.path).map(|metadata| allocated_bytes(&metadata));
    Ok(ExportedDisk {
        path: order.path.clone(),
        format: order.format,
        size_bytes: ByteCount(size_bytes),
        allocated_bytes: ByteCount(allocated_bytes.unwrap_or_default()),
    })
}

fn allocated_bytes(metadata: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    // stat(2): in units of 512 bytes, whatever the file system's blocks are.
    metadata.blocks() * 512
}
