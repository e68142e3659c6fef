//! The persistent dirty bitmaps of qcow2 images at rest.
//!
//! Every edit is durable when it returns. An image in use is an error of kind [`crate::ErrorKind::InUse`].

use std::{ffi::OsString, path::Path};

use crate::{Result, qemu_img};

/// Adds an empty bitmap that records.
///
/// # Errors
/// [`crate::ErrorKind::AlreadyExists`], [`crate::ErrorKind::InUse`], [`crate::ErrorKind::NotFound`] for the image.
pub async fn add(path: &Path, name: &str, granularity_bytes: u32) -> Result<()> {
    edit(path, &["--add", "-g", &granularity_bytes.to_string()], name).await
}

/// Removes a bitmap, also one that is inconsistent.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::InUse`].
pub async fn remove(path: &Path, name: &str) -> Result<()> {
    edit(path, &["--remove"], name).await
}

/// Adds what `source` has recorded to `name`; `source` stays.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::InUse`], [`crate::ErrorKind::Failed`] for a bitmap that is
/// inconsistent.
pub async fn merge(path: &Path, source: &str, name: &str) -> Result<()> {
    edit(path, &["--merge", source], name).await
}

/// Lets a bitmap record.
///
/// # Errors
/// As [`merge`].
pub async fn enable(path: &Path, name: &str) -> Result<()> {
    edit(path, &["--enable"], name).await
}

/// Lets a bitmap record no more.
///
/// # Errors
/// As [`merge`].
pub async fn disable(path: &Path, name: &str) -> Result<()> {
    edit(path, &["--disable"], name).await
}

async fn edit(path: &Path, action: &[&str], name: &str) -> Result<()> {
    let doing = format!("changing the dirty bitmap {name:?} of {}", path.display());
    let mut arguments: Vec<OsString> =
        ["bitmap", "-f", "qcow2"].iter().chain(action).map(Into::into).collect();
    arguments.extend(["--".into(), qemu_img::file_name(path)?.into_os_string(), name.into()]);
    qemu_img::run(&doing, arguments).await.map(drop)
}
