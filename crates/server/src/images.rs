//! Images that references name: found, and opened.

mod compare;
mod shown;

use std::{path::PathBuf, sync::Arc};

use catalog::ImageSource;
use image::DiskImage;
use model::{
    CopyName, DiskName, ImageReference, JournalId, PointId, PointReference, PointSelector, SnapshotReference,
    VaultId,
};
use vault::VaultImage;

pub(crate) use self::{
    compare::{Page, changes, extents},
    shown::ShownOverNbd,
};
use crate::{
    failure::{Failure, Result},
    points::{self, FoundPoint, Named},
    replicas::{self, FoundMoment},
    site::Site,
};

/// Where images come from. Nothing is open yet.
#[derive(Debug)]
pub(crate) enum Source {
    /// Disks of a recovery point or a snapshot; never none.
    Point { found: Box<FoundPoint>, disks: Vec<DiskName> },
    /// Disks of a replicated VM at a moment, which is held; never none.
    Replica { found: Arc<FoundMoment>, disks: Vec<DiskName> },
    /// An image file.
    File(PathBuf),
}

/// What a source shows, as others can remember it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Point { vault: VaultId, copy: Option<CopyName>, point: PointId, disks: Vec<DiskName> },
    Replica { journal: JournalId, sequence: u64, disks: Vec<DiskName> },
    File(PathBuf),
}

/// What an image file's only disk is called.
const FILE_DISK: &str = "disk";

/// An image that is open.
pub(crate) struct OpenImage {
    /// The disk's name within its VM; `disk` for an image file.
    pub(crate) disk: DiskName,
    pub(crate) image: Arc<dyn DiskImage>,
    /// The same, where it is a disk in a vault.
    in_vault: Option<Arc<VaultImage>>,
}

impl OpenImage {
    /// One that is in no vault.
    pub(crate) fn plain(disk: DiskName, image: Arc<dyn DiskImage>) -> Self {
        Self { disk, image, in_vault: None }
    }
}

impl Source {
    /// What a reference names: one disk, or all of a point or a snapshot where it names none.
    pub(crate) async fn resolve(site: &Site, reference: &str, from_copy: Option<&str>) -> Result<Self> {
        let parsed: ImageReference =
            reference.parse().map_err(|error| Failure::invalid(format!("{error}")))?;
        match parsed {
            ImageReference::Point(_) | ImageReference::Snapshot(_) => {
                let Named { point, disk, .. } = points::resolve_named(site, reference, from_copy).await?;
                let disks = match disk {
                    Some(disk) => vec![choose_disk(&point, Some(disk))?],
                    None => point.record.summary.disks.iter().map(|disk| disk.name.clone()).collect(),
                };
                Ok(Self::Point { found: Box::new(point), disks })
            }
            ImageReference::Replica(_) if from_copy.is_some() => {
                Err(Failure::invalid("a replica is in no copy of a vault"))
            }
            ImageReference::Replica(reference) => {
                let found = Arc::new(replicas::resolve(site, &reference).await?);
                let disks = match reference.disk {
                    Some(disk) => vec![choose_of(&found, Some(disk))?],
                    None => found.disks(),
                };
                Ok(Self::Replica { found, disks })
            }
            ImageReference::File(_) if from_copy.is_some() => {
                Err(Failure::invalid("an image file is in no copy of a vault"))
            }
            ImageReference::File(path) if !path.is_absolute() => {
                Err(Failure::invalid(format!("{} is not an absolute path", path.display())))
            }
            ImageReference::File(path) => Ok(Self::File(path)),
        }
    }

    /// The same for a reference that must name one disk, or a point that has only one.
    pub(crate) async fn resolve_one(site: &Site, reference: &str, from_copy: Option<&str>) -> Result<Self> {
        match Self::resolve(site, reference, from_copy).await? {
            Self::Point { found, disks } if disks.len() != 1 => {
                let disks = vec![choose_disk(&found, None)?];
                Ok(Self::Point { found, disks })
            }
            Self::Replica { found, disks } if disks.len() != 1 => {
                let disks = vec![choose_of(&found, None)?];
                Ok(Self::Replica { found, disks })
            }
            one => Ok(one),
        }
    }

    /// What it shows, as others can remember it.
    pub(crate) fn key(&self) -> Key {
        match self {
            Self::Point { found, disks } => Key::Point {
                vault: found.vault.id,
                copy: found.copy.as_ref().map(|copy| copy.name.clone()),
                point: found.record.summary.id,
                disks: disks.clone(),
            },
            Self::Replica { found, disks } => Key::Replica {
                journal: found.replica.journal_id,
                sequence: found.sequence(),
                disks: disks.clone(),
            },
            Self::File(path) => Key::File(path.clone()),
        }
    }

    /// A reference that names the same when newer points come, and VMs have other names.
    pub(crate) fn pinned(&self) -> String {
        match self {
            Self::File(path) => format!("file:{}", path.display()),
            Self::Replica { found, disks } => {
                let disk = if let [only] = disks.as_slice() { Some(only.clone()) } else { None };
                found.pinned(disk).to_string()
            }
            Self::Point { found, disks } => {
                let summary = &found.record.summary;
                let disk = if let [only] = disks.as_slice() { Some(only.clone()) } else { None };
                if let Some(snapshot) = &found.snapshot {
                    return SnapshotReference { snapshot: snapshot.id.to_string(), disk }.to_string();
                }
                let (vm, point) =
                    (summary.vm_id.to_string(), PointSelector::IdPrefix(summary.id.to_string()));
                PointReference { vm, point, disk }.to_string()
            }
        }
    }

    /// Its images, told so that each is found again at any time.
    pub(crate) fn image_sources(&self) -> Result<Vec<(DiskName, ImageSource)>> {
        match self {
            Self::File(path) => Ok(vec![(file_disk()?, ImageSource::File { path: path.clone() })]),
            Self::Replica { found, disks } => {
                Ok(disks.iter().map(|disk| (disk.clone(), found.image_source(disk.clone()))).collect())
            }
            Self::Point { found, disks } => {
                Ok(disks.iter().map(|disk| (disk.clone(), found.image_source(disk.clone()))).collect())
            }
        }
    }

    /// Opens all of it, to be read all over.
    pub(crate) async fn open(&self, site: &Site) -> Result<Vec<OpenImage>> {
        self.open_for(site, Reading::Anywhere).await
    }

    async fn open_for(&self, site: &Site, reading: Reading) -> Result<Vec<OpenImage>> {
        match self {
            Self::File(path) => {
                let image = image_formats::open_image(path, None).await?;
                Ok(vec![OpenImage::plain(file_disk()?, image)])
            }
            Self::Replica { found, disks } => disks.iter().map(|disk| found.open(disk)).collect(),
            Self::Point { found, disks } if let Some(held) = found.held() => {
                let open = |disk: &DiskName| Ok(OpenImage::plain(disk.clone(), held.image(disk)?));
                disks.iter().map(open).collect()
            }
            Self::Point { found, disks } => {
                let vault = site.vaults.open_source(&found.vault, found.copy.as_ref()).await?;
                let mut images = Vec::with_capacity(disks.len());
                for disk in disks {
                    let map = found.record.map(disk).ok_or_else(|| {
                        Failure::not_found(format!("the {} has no disk {disk}", found.word()))
                    })?;
                    let image = Arc::new(match reading {
                        Reading::Anywhere => site.vaults.served_image(&vault, map).await?,
                        Reading::InOrder => vault.image(map).await?,
                    });
                    let in_vault = Some(Arc::clone(&image));
                    images.push(OpenImage { disk: disk.clone(), image, in_vault });
                }
                Ok(images)
            }
        }
    }

    /// The vault that it is read from.
    pub(crate) fn vault_id(&self) -> Option<VaultId> {
        match self {
            Self::Point { found, .. } => Some(found.vault.id),
            Self::Replica { .. } | Self::File(_) => None,
        }
    }

    /// Opens the only one.
    pub(crate) async fn open_one(&self, site: &Site) -> Result<OpenImage> {
        only(self.open(site).await?)
    }

    /// Opens the only one, to be read once from front to back.
    pub(crate) async fn open_one_in_order(&self, site: &Site) -> Result<OpenImage> {
        only(self.open_for(site, Reading::InOrder).await?)
    }
}

/// How an image is going to be read.
#[derive(Debug, Clone, Copy)]
enum Reading {
    Anywhere,
    InOrder,
}

fn only(images: Vec<OpenImage>) -> Result<OpenImage> {
    images.into_iter().next().ok_or_else(|| Failure::not_found("the recovery point has no disks"))
}

fn file_disk() -> Result<DiskName> {
    FILE_DISK.parse().map_err(|error| Failure::invalid(format!("{error}")))
}

/// The disk of a point that is named, or the only one.
pub(crate) fn choose_disk(point: &FoundPoint, named: Option<DiskName>) -> Result<DiskName> {
    let names: Vec<&DiskName> = point.record.summary.disks.iter().map(|disk| &disk.name).collect();
    let list = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let word = point.word();
    match (named, &*names) {
        (Some(name), names) if names.contains(&&name) => Ok(name),
        (Some(name), _) => Err(Failure::not_found(format!("the {word} has no disk {name}; it has {list}"))),
        (None, [only]) => Ok((*only).clone()),
        (None, names) => {
            let example = point.reference(names.first().map(|disk| (*disk).clone()));
            Err(Failure::invalid(format!("the {word} has several disks: {list}"))
                .with_hint(format!("name one of them, as in {example}")))
        }
    }
}

/// The disk of a moment that is named, or the only one.
fn choose_of(found: &FoundMoment, named: Option<DiskName>) -> Result<DiskName> {
    let names = found.disks();
    let list = || names.iter().map(DiskName::as_str).collect::<Vec<_>>().join(", ");
    match (named, names.as_slice()) {
        (Some(name), names) if names.contains(&name) => Ok(name),
        (Some(name), _) => {
            Err(Failure::not_found(format!("the VM had no disk {name} then; it had {}", list())))
        }
        (None, [only]) => Ok(only.clone()),
        (None, names) => {
            let example = found.pinned(names.first().cloned());
            Err(Failure::invalid(format!("the replica has several disks: {}", list()))
                .with_hint(format!("name one of them, as in {example}")))
        }
    }
}
