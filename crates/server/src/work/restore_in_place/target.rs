//! Which of a VM's disks a point overwrites, and what the VM is afterwards.

use api::shell_word;
use catalog::KnownVm;
use model::{DiskDefinition, DiskFormat, DiskName, Firmware, VmDefinition, VmId};
use protection::{InPlaceDisk, variable_store};
use vault::PointRecord;

use crate::{
    failure::{Failure, Result},
    points::FoundPoint,
    vms,
};

/// The disks of a VM that a point overwrites: all that the point has, or the one that is named.
pub(super) fn disks(vm: &KnownVm, point: &FoundPoint, only: Option<&DiskName>) -> Result<Vec<InPlaceDisk>> {
    let present = present(vm)?;
    let summaries = point.record.summary.disks.iter();
    let wanted = summaries.map(|disk| &disk.name).filter(|name| only.is_none_or(|only| only == *name));
    let found = wanted.map(|name| {
        present.iter().find(|disk| disk.name == *name).cloned().ok_or_else(|| {
            let reference = vms::reference_to(point.record.summary.vm_name.as_str(), point.record.summary.id);
            Failure::conflict(format!("the VM {} has no disk {name} any more", vm.name)).with_hint(format!(
                "restore the point as a new VM: holdfast restore vm {} --name NAME",
                shell_word(&reference)
            ))
        })
    });
    found.collect()
}

/// What has to be said of disks that the point does not have.
pub(super) fn untouched(
    vm: &KnownVm,
    point: &FoundPoint,
    disks: &[InPlaceDisk],
    only: Option<&DiskName>,
) -> Vec<String> {
    if only.is_some() {
        return Vec::new();
    }
    let rest = present(vm).unwrap_or_default().into_iter();
    let rest = rest.filter(|present| disks.iter().all(|disk| disk.name != present.name));
    let word = point.word();
    rest.map(|disk| format!("the disk {} is not in the {word} and stays as it is", disk.name)).collect()
}

/// The disks that a VM has now, its firmware's variables among them.
fn present(vm: &KnownVm) -> Result<Vec<InPlaceDisk>> {
    let definition = vms::known_definition(vm).ok_or_else(|| {
        Failure::conflict(format!("the disks of the VM {} are not known", vm.name))
            .with_hint("start it once, so that it can be looked at")
    })?;
    let disks = definition.disks.iter().filter_map(|disk| {
        let (path, format) = (disk.path.clone()?, disk.format?);
        Some(InPlaceDisk { name: disk.name.clone(), path, format })
    });
    let variables =
        variable_store(definition).map(|(name, path)| InPlaceDisk { name, path, format: DiskFormat::Raw });
    Ok(disks.chain(variables).collect())
}

/// What a VM is after its restore. It stays itself, with its name, UUID and files; its hardware is that of the point. The
/// network cards too, MAC addresses included, unless the point is another VM's.
pub(super) fn definition(now: &VmDefinition, vm_id: VmId, point: &PointRecord) -> VmDefinition {
    let then = point.definition.clone();
    let is_own = point.summary.vm_id == vm_id;
    let firmware = match (then.firmware, &now.firmware) {
        (Firmware::Uefi { .. }, Firmware::Uefi { variables }) => {
            Firmware::Uefi { variables: variables.clone() }
        }
        (Firmware::Uefi { .. }, _) => Firmware::Uefi { variables: None },
        (firmware, _) => firmware,
    };
    VmDefinition {
        name: now.name.clone(),
        uuid: now.uuid.clone(),
        firmware,
        disks: disks_of(now, &then.disks),
        networks: if is_own { then.networks } else { now.networks.clone() },
        ..then
    }
}

/// The disks as the point attaches them, in its order, with the files that they have now; then those that it does not know.
fn disks_of(now: &VmDefinition, then: &[DiskDefinition]) -> Vec<DiskDefinition> {
    let restored = then.iter().filter_map(|disk| {
        let present = now.disks.iter().find(|present| present.name == disk.name)?;
        Some(DiskDefinition { path: present.path.clone(), format: present.format, ..disk.clone() })
    });
    let added = now.disks.iter().filter(|disk| then.iter().all(|old| old.name != disk.name)).cloned();
    restored.chain(added).collect()
}

#[cfg(test)]
mod tests;
