//! One disk of a recovery point becomes an image file.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use image_formats::{NbdBacking, Usage, create_overlay, create_target, detect};
use model::{ByteCount, DiskFormat, DiskName, PointId};

use super::{RestoreSource, RestoredDisk, discard_partial, partial_path, source::Content};
use crate::{Error, ErrorKind, Monitor, Result, error::Context as _};

/// Which disk to restore, and where.
#[derive(Debug, Clone)]
pub struct DiskRestore {
    /// The recovery point.
    pub point_id: PointId,
    /// The disk of it.
    pub disk: DiskName,
    /// The file to make.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
    /// Whether a file that exists may be replaced.
    pub replace: bool,
}

/// Writes one disk of a recovery point to an image file. When this returns, the file is whole and durable.
///
/// # Errors
/// [`ErrorKind::Exists`] before any work when the file exists and may not be replaced. Nothing is left after any error.
pub async fn restore_disk(
    source: &RestoreSource,
    order: &DiskRestore,
    monitor: &Arc<dyn Monitor>,
) -> Result<RestoredDisk> {
    let point = source.point(order.point_id).await?;
    let Some((_, content)) = point.disks.iter().find(|(name, _)| *name == order.disk) else {
        let names: Vec<_> = point.summary.disks.iter().map(|disk| disk.name.as_str()).collect();
        let context = format!("the recovery point has no disk {}; it has {}", order.disk, names.join(", "));
        return Err(Error::new(ErrorKind::NotFound, context));
    };
    let partial =
        PartialDisk::prepare(&order.disk, content, &order.path, order.format, order.replace).await?;
    let written = partial.write(monitor).await;
    let placed = match written {
        Ok(written_bytes) => partial.place(written_bytes).await,
        Err(error) => Err(error),
    };
    if placed.is_err() {
        partial.discard();
    }
    placed
}

/// A disk on its way into a file.
pub(super) struct PartialDisk<'a> {
    name: DiskName,
    content: Content<'a>,
    path: PathBuf,
    format: DiskFormat,
    replace: bool,
}

impl<'a> PartialDisk<'a> {
    /// Checks that the file may be made, and removes what a dead restore to the same place left.
    pub(super) async fn prepare(
        name: &DiskName,
        content: &Content<'a>,
        path: &Path,
        format: DiskFormat,
        replace: bool,
    ) -> Result<Self> {
        prepare_place(path, replace).await?;
        Ok(Self { name: name.clone(), content: content.clone(), path: path.to_owned(), format, replace })
    }

    /// Writes the disk beside its place. Returns the bytes of data written.
    pub(super) async fn write(&self, monitor: &Arc<dyn Monitor>) -> Result<u64> {
        let partial = partial_path(&self.path);
        let shown = partial.display();
        let target = create_target(&partial, self.format, self.content.size_bytes()).await;
        let target = target.context(format!("{shown} cannot be created"))?;
        let written_bytes = self.content.write(&self.name, &*target, monitor).await?;
        target.finish().await.context(format!("{shown} could not be made durable"))?;
        Ok(written_bytes)
    }

    /// The disk's name.
    pub(super) fn name(&self) -> &DiskName {
        &self.name
    }

    /// Makes a file that reads from elsewhere what the guest has not written. Returns the bytes of data written: none.
    pub(super) async fn layer(&self, backing: NbdBacking<'_>) -> Result<u64> {
        let partial = partial_path(&self.path);
        let created = create_overlay(&partial, self.content.size_bytes(), backing).await;
        created.context(format!("{} cannot be created", partial.display())).map(|()| 0)
    }

    /// Gives the finished file its name, durably.
    pub(super) async fn place(&self, written_bytes: u64) -> Result<RestoredDisk> {
        place(&self.path, self.replace).await?;
        Ok(RestoredDisk {
            name: self.name.clone(),
            path: self.path.clone(),
            format: self.format,
            size_bytes: ByteCount(self.content.size_bytes()),
            written_bytes: ByteCount(written_bytes),
        })
    }

    /// Removes what was written. What cannot be removed is named in the log; its name says what it is.
    pub(super) fn discard(&self) {
        if let Err(error) = discard_partial(&self.path) {
            tracing::warn!(path = %partial_path(&self.path).display(), %error, "a partial file could not be removed");
        }
    }
}

/// Checks that a file may be made, and removes what dead work on the same file left.
pub(crate) async fn prepare_place(path: &Path, replace: bool) -> Result<()> {
    check_place(path, replace).await?;
    discard_partial(path)
        .context(format!("what earlier work on {} left cannot be removed", path.display()))
        .map(drop)
}

/// Gives the finished partial its name, durably. Whether the place is free is asked again: writing may have taken hours.
pub(crate) async fn place(path: &Path, replace: bool) -> Result<()> {
    let shown = path.display();
    check_place(path, replace).await?;
    std::fs::rename(partial_path(path), path).context(format!("the finished file cannot become {shown}"))?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let synced = std::fs::File::open(directory).and_then(|directory| directory.sync_all());
    synced.context(format!("the name {shown} could not be made durable"))
}

/// Fails unless a file may be put at a place.
async fn check_place(path: &Path, replace: bool) -> Result<()> {
    let shown = path.display();
    if std::fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    if !replace {
        return Err(Error::new(ErrorKind::Exists, format!("{shown} exists"))
            .with_guidance("name another file, or replace this one with --replace"));
    }
    let used = detect(path, Usage::AtRest).await;
    if used.is_err_and(|error| error.kind() == image_formats::ErrorKind::InUse) {
        return Err(Error::new(ErrorKind::Busy, format!("{shown} is in use by a running VM"))
            .with_guidance("stop the VM first, or name another file"));
    }
    Ok(())
}
