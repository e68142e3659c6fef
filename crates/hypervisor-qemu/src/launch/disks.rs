//! Disks on the command line.

use std::{collections::HashSet, fs, os::unix::fs::FileTypeExt, path::Path};

use hypervisor::{Error, ErrorKind, Result};
use model::{DiskBus, DiskDefinition};
use serde_json::{Value, json};

use super::arguments::Arguments;

/// Longest name of a node.
const NODE_NAME_LIMIT_BYTES: usize = 31;

/// The id of each disk's device and node: its name, where QEMU takes that for an id, and its place otherwise.
pub(crate) fn device_ids(disks: &[DiskDefinition]) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut ids = Vec::with_capacity(disks.len());
    for (index, disk) in disks.iter().enumerate() {
        let name = disk.name.as_str();
        let fits = is_id(name) && !name.starts_with("vm.") && taken.insert(name.to_owned());
        ids.push(if fits { name.to_owned() } else { format!("vm.disk{index}") });
    }
    ids
}

/// Whether QEMU takes a text as the id of both a device and a node.
fn is_id(text: &str) -> bool {
    text.len() <= NODE_NAME_LIMIT_BYTES
        && text.starts_with(|character: char| character.is_ascii_alphabetic())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || "-._".contains(character))
}

/// Adds the disks and the controllers they need.
pub(super) fn add(arguments: &mut Arguments, disks: &[DiskDefinition]) -> Result<()> {
    let mut shared_controller = false;
    for (index, (disk, id)) in disks.iter().zip(device_ids(disks)).enumerate() {
        arguments.json("-blockdev", &node(disk, &id)?);
        let thread = format!("vm.iothread{index}");
        if disk.iothread {
            arguments.json("-object", &json!({"qom-type": "iothread", "id": thread}));
        }
        // 0 is that of a kernel that QEMU loads.
        let mut device = json!({"id": id, "drive": id, "bootindex": index + 1});
        device["driver"] = match disk.bus {
            DiskBus::Virtio => "virtio-blk-pci",
            DiskBus::Scsi => "scsi-hd",
            DiskBus::Sata => "ide-hd",
            DiskBus::Nvme => "nvme",
        }
        .into();
        match (disk.bus, disk.iothread) {
            (DiskBus::Virtio, true) => device["iothread"] = thread.into(),
            (DiskBus::Scsi, true) => {
                let controller = format!("vm.scsi{index}");
                let own = json!({"driver": "virtio-scsi-pci", "id": controller, "iothread": thread});
                arguments.json("-device", &own);
                device["bus"] = format!("{controller}.0").into();
            }
            (DiskBus::Scsi, false) => {
                if !shared_controller {
                    arguments.json("-device", &json!({"driver": "virtio-scsi-pci", "id": "vm.scsi"}));
                }
                shared_controller = true;
                device["bus"] = "vm.scsi.0".into();
            }
            (DiskBus::Sata | DiskBus::Nvme, true) => {
                let context = format!("the disk {} cannot have an I/O thread on this bus", disk.name);
                return Err(
                    Error::new(ErrorKind::Unsupported, context).with_guidance("use the bus virtio or scsi")
                );
            }
            (DiskBus::Virtio | DiskBus::Sata | DiskBus::Nvme, false) => {}
        }
        let serial =
            disk.serial.clone().or_else(|| (disk.bus == DiskBus::Nvme).then(|| format!("disk{index}")));
        if let Some(serial) = serial {
            device["serial"] = serial.into();
        }
        arguments.json("-device", &device);
    }
    Ok(())
}

fn node(disk: &DiskDefinition, id: &str) -> Result<Value> {
    let refused = |what: &str| {
        Error::new(ErrorKind::Unsupported, format!("the disk {} has no {what}", disk.name))
            .with_guidance("complete the VM's definition")
    };
    let path = disk.path.as_deref().ok_or_else(|| refused("path"))?;
    // Never probed: a guest writes the first bytes of a raw disk as it likes.
    let format = disk.format.ok_or_else(|| refused("format"))?;
    let filename = path.to_str().ok_or_else(|| refused("path in UTF-8"))?;
    let driver = if is_block_device(path) { "host_device" } else { "file" };
    Ok(json!({
        "driver": format.as_str(),
        "node-name": id,
        "discard": "unmap",
        "file": {"driver": driver, "filename": filename, "discard": "unmap"},
    }))
}

fn is_block_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device())
}
