//! Disks that read from images until they are whole: those of VMs, and those that have names of their own.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use api::shell_word;
use catalog::{Catalog, DependentDisk, ImageSource, KnownDisk, KnownVm};

use crate::{
    disks,
    failure::{Failure, Result},
    site::Site,
    vms,
};

/// Who has such disks, or may have.
#[derive(Debug, Clone)]
pub(crate) enum Owner {
    Vm(Box<KnownVm>),
    Disk(Box<KnownDisk>),
}

impl Owner {
    /// All of a site.
    pub(crate) async fn all(catalog: &Catalog) -> Result<Vec<Self>> {
        let vms = catalog.vms().await?.into_iter().map(|vm| Self::Vm(Box::new(vm)));
        Ok(vms.chain(catalog.disks().await?.into_iter().map(|disk| Self::Disk(Box::new(disk)))).collect())
    }

    /// The same as it is known now.
    pub(crate) async fn again(&self, site: &Site) -> Result<Self> {
        Ok(match self {
            Self::Vm(vm) => Self::Vm(Box::new(vms::find(site, vm.id.as_str()).await?)),
            Self::Disk(disk) => Self::Disk(Box::new(disks::find(site, disk.id.as_str()).await?)),
        })
    }

    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Vm(vm) => vm.id.as_str(),
            Self::Disk(disk) => disk.id.as_str(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Vm(vm) => vm.name.as_str(),
            Self::Disk(disk) => disk.name.as_str(),
        }
    }

    /// The owner in words, as in "the VM web-1".
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Vm(vm) => format!("the VM {}", vm.name),
            Self::Disk(disk) => format!("the disk {}", disk.name),
        }
    }

    /// That an image cannot go, because its disks read from it.
    pub(crate) fn needs(&self, image: &str) -> Failure {
        let verb = if matches!(self, Self::Vm(_)) { "runs" } else { "reads" };
        Failure::conflict(format!("{} {verb} from {image}", self.shown()))
            .with_hint(format!("make it whole first: {}", self.way_out()))
    }

    /// The command that makes its disks whole.
    pub(crate) fn way_out(&self) -> String {
        let noun = match self {
            Self::Vm(_) => "vm",
            Self::Disk(_) => "disk",
        };
        format!("holdfast {noun} hydrate {}", shell_word(self.name()))
    }

    /// Its disks that are not whole.
    pub(crate) fn dependents(&self) -> &[DependentDisk] {
        match self {
            Self::Vm(vm) => &vm.dependent_disks,
            Self::Disk(disk) => disk.dependent.as_slice(),
        }
    }

    /// Keeps which of its disks are not whole.
    pub(crate) async fn keep(&self, catalog: &Catalog, dependents: &[DependentDisk]) -> Result<()> {
        match self {
            Self::Vm(vm) => catalog.set_dependent_disks(vm.id, dependents).await?,
            Self::Disk(disk) => catalog.set_dependent_disk(disk.id, dependents.first()).await?,
        }
        Ok(())
    }

    /// The file of one of its disks.
    pub(crate) fn file_of(&self, dependent: &DependentDisk) -> Option<PathBuf> {
        match self {
            Self::Vm(vm) => {
                let disks = &vms::known_definition(vm)?.disks;
                disks.iter().find(|disk| disk.name == dependent.disk)?.path.clone()
            }
            Self::Disk(disk) => Some(disk.path.clone()),
        }
    }

    /// Whether one of its disks reads from such an image.
    pub(crate) fn reads(&self, is_image: impl Fn(&ImageSource) -> bool) -> bool {
        self.dependents().iter().any(|dependent| is_image(&dependent.source))
    }
}

/// Whether an image is this file, under whatever name.
pub(crate) fn is_file(source: &ImageSource, path: &Path) -> bool {
    let identity = |path: &Path| path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    match source {
        ImageSource::File { path: source } => {
            source == path || identity(source).is_some_and(|source| identity(path) == Some(source))
        }
        ImageSource::Point { .. } | ImageSource::Snapshot { .. } | ImageSource::Replica { .. } => false,
    }
}

/// An image in words.
pub(crate) fn shown(source: &ImageSource) -> String {
    match source {
        ImageSource::Point { copy: None, point_id, .. } => format!("the point {point_id}"),
        ImageSource::Point { copy: Some(copy), point_id, .. } => {
            format!("the point {point_id} in the copy {copy}")
        }
        ImageSource::Snapshot { snapshot_id, .. } => format!("the snapshot {snapshot_id}"),
        ImageSource::Replica { journal_id, sequence, .. } => {
            format!("the replica {journal_id} after record {sequence}")
        }
        ImageSource::File { path } => path.display().to_string(),
    }
}
