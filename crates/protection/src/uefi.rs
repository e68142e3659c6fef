//! The variable store of UEFI firmware: state of a VM that is on none of its disks. A point keeps it as a disk of its own.

use std::path::PathBuf;

use model::{DiskName, Firmware, VmDefinition};

/// The name under which a point keeps the variable store. QEMU's device ids cannot hold a colon.
const DISK_NAME: &str = "uefi:variables";

/// Whether a disk of a point is a variable store.
pub(crate) fn is_variable_store(disk: &DiskName) -> bool {
    disk.as_str() == DISK_NAME
}

/// The variable store of a VM, and the name for it in a point.
#[must_use]
pub fn variable_store(definition: &VmDefinition) -> Option<(DiskName, PathBuf)> {
    match &definition.firmware {
        Firmware::Uefi { variables: Some(path) } => Some((DISK_NAME.parse().ok()?, path.clone())),
        _ => None,
    }
}

/// Points the definition's firmware to a variable store.
pub(crate) fn set_variable_store(definition: &mut VmDefinition, path: PathBuf) {
    if let Firmware::Uefi { variables } = &mut definition.firmware {
        *variables = Some(path);
    }
}
