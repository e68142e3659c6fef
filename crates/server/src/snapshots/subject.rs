//! What a snapshot is made of: a VM, a disk of one, an image file.

use std::path::PathBuf;

use api::shell_word;
use catalog::KnownVm;
use model::{DiskName, VmId, VmName};

use crate::{
    failure::{Failure, Result},
    site::Site,
    vms,
};

/// What a snapshot is made of.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    /// A VM; all of its disks, or one.
    Vm { vm: Box<KnownVm>, disk: Option<DiskName> },
    /// An image file at rest, by its canonical path.
    File(PathBuf),
}

impl Subject {
    /// What is named. A VM whose name has a slash wins over a disk.
    pub(crate) async fn find(site: &Site, text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("file:") {
            return Self::of_file(site, path).await;
        }
        if let Some(vm) = site.catalog.vm(text).await? {
            return Ok(Self::Vm { vm: Box::new(vm), disk: None });
        }
        let Some((vm, disk)) = text.split_once('/') else {
            return vms::find(site, text).await.map(|vm| Self::Vm { vm: Box::new(vm), disk: None });
        };
        let vm = vms::find(site, &decode(vm)).await?;
        let disk =
            decode(disk).parse().map_err(|error| Failure::invalid(format!("the disk's name: {error}")))?;
        let names: Vec<_> =
            vms::known_definition(&vm).into_iter().flat_map(|it| &it.disks).map(|disk| &disk.name).collect();
        if !names.is_empty() && !names.contains(&&disk) {
            let names = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Failure::not_found(format!("the VM {} has no disk {disk}; it has {names}", vm.name)));
        }
        Ok(Self::Vm { vm: Box::new(vm), disk: Some(disk) })
    }

    async fn of_file(site: &Site, path: &str) -> Result<Self> {
        let path = PathBuf::from(path);
        if !path.is_absolute() {
            return Err(Failure::invalid(format!("{} is not an absolute path", path.display())));
        }
        let canonical = std::fs::canonicalize(&path)
            .map_err(|error| Failure::from_io(format!("the image file {}", path.display()), &error))?;
        if let Some(vm) = vms::owner_of(site, &canonical).await? {
            let disk =
                vms::disk_at(&vm, &canonical).map_or_else(|| "DISK".to_owned(), |disk| disk.to_string());
            let source = shell_word(&format!("{}/{}", encode(vm.name.as_str()), encode(&disk)));
            return Err(Failure::conflict(format!(
                "{} is a disk of the VM {}",
                canonical.display(),
                vm.name
            ))
            .with_hint(format!("make a snapshot of the VM's disk: holdfast snapshot create {source}")));
        }
        Ok(Self::File(canonical))
    }

    /// The family of its snapshots, and the name of that. An image file gets one with its first snapshot.
    pub(crate) async fn family(&self, site: &Site) -> Result<(VmId, VmName)> {
        match self {
            Self::Vm { vm, .. } => Ok((vm.id, vm.name.clone())),
            Self::File(path) => {
                let name = file_words(path)?;
                let known = site.catalog.snapshot_family(name.as_str()).await?;
                Ok((known.unwrap_or_else(|| VmId::from_random(env::random(&*site.env.entropy))), name))
            }
        }
    }

    /// The only disk that is wanted.
    pub(crate) fn disk(&self) -> Option<&DiskName> {
        match self {
            Self::Vm { disk, .. } => disk.as_ref(),
            Self::File(_) => None,
        }
    }

    /// The VM.
    pub(crate) fn vm(&self) -> Option<&KnownVm> {
        match self {
            Self::Vm { vm, .. } => Some(vm),
            Self::File(_) => None,
        }
    }

    /// What it is, as somebody would ask for it.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Vm { vm, disk } => words(&vm.name, disk.as_ref()),
            Self::File(path) => format!("file:{}", path.display()),
        }
    }

    /// A word for the names of its snapshots.
    pub(crate) fn stem(&self) -> String {
        let name = match self {
            Self::Vm { vm, disk: None } => vm.name.to_string(),
            Self::Vm { vm, disk: Some(disk) } => format!("{}-{disk}", vm.name),
            Self::File(path) => {
                path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
            }
        };
        let plain = |character: char| {
            if character.is_ascii_alphanumeric() || "._-".contains(character) { character } else { '-' }
        };
        name.chars().map(plain).take(60).collect()
    }
}

/// A family or a disk of it, as somebody would ask for a snapshot of it.
pub(super) fn words(family: &VmName, disk: Option<&DiskName>) -> String {
    match disk {
        None => family.to_string(),
        Some(disk) => format!("{}/{}", encode(family.as_str()), encode(disk.as_str())),
    }
}

/// The family that somebody names: a VM, known or not, or an image file.
pub(crate) async fn family_of(site: &Site, text: &str) -> Result<VmId> {
    if let Some(vm) = site.catalog.vm(text).await? {
        return Ok(vm.id);
    }
    let known = site.catalog.snapshot_family(text).await?.or_else(|| text.parse().ok());
    known.ok_or_else(|| {
        Failure::not_found(format!("nothing has snapshots under the name {text}"))
            .with_hint("see all with: holdfast snapshot list")
    })
}

fn file_words(path: &std::path::Path) -> Result<VmName> {
    let name = format!("file:{}", path.display());
    name.parse().map_err(|error| Failure::invalid(format!("the path of the image file: {error}")))
}

fn decode(part: &str) -> String {
    part.replace("%2F", "/").replace("%2f", "/").replace("%25", "%")
}

fn encode(part: &str) -> String {
    part.replace('%', "%25").replace('/', "%2F")
}
