//! The definition of a VM that Holdfast is to start: checked, and completed with what its files tell.

use std::{collections::BTreeSet, path::Path};

use image_formats::Usage;
use model::{DiskDefinition, Firmware, NetworkKind, VmDefinition};

use crate::failure::{Failure, Result};

/// Checks a definition and fixes the format of each disk.
pub(crate) async fn complete(mut definition: VmDefinition) -> Result<VmDefinition> {
    if definition.cpus == 0 || definition.memory.0 == 0 {
        return Err(Failure::invalid("a VM needs at least one CPU and some memory"));
    }
    match &definition.firmware {
        Firmware::Bios | Firmware::Uefi { variables: None } => {}
        Firmware::Uefi { variables: Some(path) } => check_absolute(path, "the UEFI variable store")?,
        Firmware::Kernel { kernel, initrd, .. } => {
            for path in [kernel].into_iter().chain(initrd) {
                check_file(path, "the kernel's file")?;
            }
        }
    }
    for network in &definition.networks {
        if network.kind == NetworkKind::Bridge && network.bridge.is_none() {
            return Err(Failure::invalid("a network of the kind bridge needs the bridge's name"));
        }
    }
    let (mut names, mut files) = (BTreeSet::new(), BTreeSet::new());
    for disk in &mut definition.disks {
        complete_disk(disk).await?;
        if !names.insert(disk.name.clone()) {
            return Err(Failure::invalid(format!("two disks have the name {}", disk.name)));
        }
        let file = disk.path.as_deref().and_then(|path| std::fs::canonicalize(path).ok());
        if !files.insert(file) {
            return Err(Failure::invalid(format!("the disk {} has the same file as another", disk.name)));
        }
    }
    Ok(definition)
}

async fn complete_disk(disk: &mut DiskDefinition) -> Result<()> {
    let what = format!("the disk {}", disk.name);
    let path = disk.path.as_deref().ok_or_else(|| Failure::invalid(format!("{what} has no path")))?;
    check_file(path, &what)?;
    let looked = match disk.format {
        Some(format) => image_formats::info(path, format, Usage::Live).await,
        None => image_formats::detect(path, Usage::Live).await,
    };
    disk.format = Some(looked.map_err(|error| Failure::from(error).during(&what))?.format);
    Ok(())
}

fn check_file(path: &Path, what: &str) -> Result<()> {
    check_absolute(path, what)?;
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            Err(Failure::invalid(format!("{what}: {} is a directory", path.display())))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::from_io(format!("{what}: {}", path.display()), &error)),
    }
}

fn check_absolute(path: &Path, what: &str) -> Result<()> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(Failure::invalid(format!("{what}: {} is not an absolute path", path.display())))
}
