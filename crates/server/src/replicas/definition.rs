//! What a replicated VM is made of here. Its definition comes from a peer: it may name nothing of this host that its maker could
//! not have anyway.

use std::{os::unix::fs::MetadataExt as _, path::Path};

use catalog::KnownReplica;
use model::{DiskBus, DiskDefinition, DiskName, Firmware, VmDefinition};

use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// The definition with the disks that the VM had at a moment, and no files. It is not looked at what it names.
pub(super) fn at_source(replica: &KnownReplica, disks: &[DiskName]) -> VmDefinition {
    let mut definition = replica.definition.clone();
    definition.name = replica.vm_name.clone();
    definition.disks.retain(|disk| disks.contains(&disk.name));
    for name in disks {
        if !definition.disks.iter().any(|disk| disk.name == *name) {
            definition.disks.push(added(name));
        }
    }
    for disk in &mut definition.disks {
        (disk.path, disk.format) = (None, None);
    }
    if let Firmware::Uefi { variables } = &mut definition.firmware {
        // Made from the template, beside the disks.
        *variables = None;
    }
    definition
}

/// The same where this host can have it: the files of the disks are still to be made.
pub(super) fn of(site: &Site, replica: &KnownReplica, disks: &[DiskName]) -> Result<VmDefinition> {
    let definition = at_source(replica, disks);
    if definition.cpus == 0 || definition.memory.0 == 0 {
        return Err(Failure::conflict("the VM's definition has no CPU, or no memory")
            .with_hint("correct it at the source"));
    }
    check_words(&definition)?;
    if let Firmware::Kernel { kernel, initrd, .. } = &definition.firmware {
        for path in [kernel].into_iter().chain(initrd.as_ref()) {
            check_file(site, path)?;
        }
    }
    Ok(definition)
}

/// The same with the disks that the definition tells of, whatever the replica has of them.
pub(crate) fn now(site: &Site, replica: &KnownReplica) -> Result<VmDefinition> {
    let disks: Vec<_> = replica.definition.disks.iter().map(|disk| disk.name.clone()).collect();
    of(site, replica, &disks)
}

/// A disk that the definition does not tell of yet.
fn added(name: &DiskName) -> DiskDefinition {
    DiskDefinition {
        name: name.clone(),
        path: None,
        format: None,
        bus: DiskBus::default(),
        serial: None,
        iothread: false,
    }
}

/// What becomes part of QEMU's arguments is one word, and so no argument more.
fn check_words(definition: &VmDefinition) -> Result<()> {
    let networks = definition.networks.iter();
    let words = networks.flat_map(|network| {
        [Some(&network.model), network.mac.as_ref(), network.bridge.as_ref()].into_iter().flatten()
    });
    let mut words = words.chain([&definition.machine]).chain(&definition.uuid);
    let is_word = |word: &&String| {
        word.chars().all(|character| character.is_ascii_alphanumeric() || "._-:".contains(character))
    };
    match words.find(|word| !is_word(word)) {
        Some(word) => {
            Err(Failure::conflict(format!("the VM's definition says {word:?} where one word belongs"))
                .with_hint("correct it at the source"))
        }
        None => Ok(()),
    }
}

/// A file of this host that everybody may read, and nothing of the site's own.
fn check_file(site: &Site, path: &Path) -> Result<()> {
    let real = path.canonicalize().map_err(|error| {
        Failure::from_io(format!("the VM starts from {}", path.display()), &error)
            .with_hint("put the file at the same place on this host")
    })?;
    let is_open = real.metadata().is_ok_and(|file| file.is_file() && file.mode() & 0o004 != 0);
    let own = site.directory.path().canonicalize();
    if !is_open || own.is_ok_and(|own| real.starts_with(own)) {
        let detail =
            format!("the VM starts from {}, which not everybody may read on this host", path.display());
        return Err(Failure::new(api::Code::Denied, detail)
            .with_hint("let the VM start from its own disk, or make the file readable to all"));
    }
    Ok(())
}
