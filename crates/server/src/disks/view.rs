//! Disks as clients see them.

use api::{DiskState, SiteDiskView};
use catalog::{KnownDisk, KnownVm};
use model::ByteCount;

use crate::{dependents, failure::Result, site::Site, vms, work};

/// All disks, by name.
pub(crate) async fn list(site: &Site) -> Result<Vec<SiteDiskView>> {
    let vms = site.catalog.vms().await?;
    Ok(site.catalog.disks().await?.iter().map(|disk| view_among(site, disk, &vms)).collect())
}

/// One disk.
pub(crate) async fn view(site: &Site, disk: &KnownDisk) -> Result<SiteDiskView> {
    Ok(view_among(site, disk, &site.catalog.vms().await?))
}

fn view_among(site: &Site, disk: &KnownDisk, vms: &[KnownVm]) -> SiteDiskView {
    let job = work::hydration_of(site, disk.id.as_str());
    let unreadable = disk
        .dependent
        .as_ref()
        .and_then(|dependent| site.backings.failure(disk.id.as_str(), &dependent.disk));
    let state = match &disk.dependent {
        None if disk.uploading => DiskState::Uploading,
        None => DiskState::Whole,
        Some(_) if job.is_some() => DiskState::Hydrating,
        Some(_) if disk.failure.is_some() => DiskState::Failed,
        Some(_) => DiskState::Dependent,
    };
    SiteDiskView {
        id: disk.id,
        name: disk.name.to_string(),
        path: disk.path.display().to_string(),
        size_bytes: ByteCount(disk.size_bytes),
        source: disk.source.clone(),
        state,
        reads_from: disk.dependent.as_ref().map(|dependent| dependents::shown(&dependent.source)),
        failure: unreadable.map(|failure| failure.reason).or_else(|| disk.failure.clone()),
        vm: vms.iter().find(|vm| vms::has_file(vm, &disk.path)).map(|vm| vm.name.to_string()),
        hydration_job: job.map(|job| job.id),
        created_at: disk.created_at,
    }
}
