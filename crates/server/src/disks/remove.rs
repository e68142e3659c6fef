//! A disk is deleted, with its file.

use std::io::ErrorKind;

use api::shell_word;
use catalog::KnownDisk;

use super::upload;
use crate::{
    dependents::{self, Owner},
    failure::{Failure, Result},
    jobs::Jobs,
    site::Site,
    vms,
    work::{self, check_unclaimed},
};

/// Deletes a disk that nobody uses: its file first, so that what is left after a crash is a disk without a file, which can be
/// deleted again. With `dry_run`, only says whether it could be.
pub(crate) async fn remove(site: &Site, disk: &KnownDisk, dry_run: bool) -> Result<()> {
    let _admission = site.admission.lock().await;
    check_unused(site, disk).await?;
    check_unclaimed(site, std::slice::from_ref(&disk.path))?;
    let taken = site.resting.take(std::slice::from_ref(&disk.path)).await?;
    check_closed(disk).await?;
    if dry_run {
        return Ok(());
    }
    if let Some(job) = work::hydration_of(site, disk.id.as_str()) {
        Jobs::cancel(&site.jobs, job).await?;
    }
    match std::fs::remove_file(&disk.path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Failure::from_io(format!("removing {}", disk.path.display()), &error));
        }
        _ => {}
    }
    upload::discard(&disk.path)?;
    site.catalog.remove_disk(disk.id).await?;
    site.backings.withdraw_all(disk.id.as_str(), disk.dependent.as_slice());
    drop(taken);
    tracing::info!(disk = %disk.name, path = %disk.path.display(), "deleted");
    Ok(())
}

/// Fails while a VM has the disk, or another disk reads from it.
async fn check_unused(site: &Site, disk: &KnownDisk) -> Result<()> {
    if let Some(vm) = vms::owner_of(site, &disk.path).await? {
        return Err(Failure::conflict(format!("the VM {} has the disk {}", vm.name, disk.name))
            .with_hint(format!("forget the VM first: holdfast vm remove {}", shell_word(vm.name.as_str()))));
    }
    let owners = Owner::all(&site.catalog).await?;
    let reader = owners
        .iter()
        .filter(|owner| owner.id() != disk.id.as_str())
        .find(|owner| owner.reads(|source| dependents::is_file(source, &disk.path)));
    match reader {
        None => Ok(()),
        Some(reader) => {
            Err(Failure::conflict(format!("{} reads from the disk {}", reader.shown(), disk.name))
                .with_hint(format!("make it whole first: {}", reader.way_out())))
        }
    }
}

/// Fails while a program has the file open: QEMU's own locks tell.
async fn check_closed(disk: &KnownDisk) -> Result<()> {
    match image_formats::is_open_elsewhere(&disk.path).await {
        Ok(false) => Ok(()),
        Err(error) if error.kind() == image_formats::ErrorKind::NotFound => Ok(()),
        Ok(true) => Err(Failure::conflict(format!("a program has the disk {} open", disk.name))
            .with_hint(format!("stop it; to see which one it is: lslocks | grep {}", disk.name))),
        Err(error) => Err(error.into()),
    }
}
