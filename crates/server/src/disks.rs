//! Disks that the site made and knows by names of their own, whatever VM has them.

mod remove;
pub(crate) mod upload;
mod view;

use catalog::KnownDisk;
use model::{JobKind, SiteDiskName};

pub(crate) use self::{
    remove::remove,
    view::{list, view},
};
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// The disk with this name or id.
pub(crate) async fn find(site: &Site, name_or_id: &str) -> Result<KnownDisk> {
    site.catalog.disk(name_or_id).await?.ok_or_else(|| {
        Failure::not_found(format!("there is no disk {name_or_id}"))
            .with_hint("see them with: holdfast disk list")
    })
}

/// Fails when a disk has the name, or is about to. The caller holds the admission.
pub(crate) async fn check_name_free(site: &Site, name: &SiteDiskName) -> Result<()> {
    let is_made = site
        .jobs
        .unfinished()
        .into_iter()
        .any(|job| job.kind == JobKind::CreateDisk && job.subject == name.as_str());
    if is_made || site.catalog.disk(name.as_str()).await?.is_some() {
        return Err(Failure::conflict(format!("there is a disk {name} already"))
            .with_hint("choose another name: holdfast disk create NAME …"));
    }
    Ok(())
}
