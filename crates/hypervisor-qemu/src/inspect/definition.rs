//! A VM's definition, read back from its QEMU.

use hypervisor::{Result, VmAccess, VmOrigin};
use model::{ByteCount, DiskBus, DiskDefinition, DiskFormat, Firmware, VmDefinition};
use serde_json::Value;

use super::networks;
use crate::{
    launch,
    monitor::Monitor,
    topology::{GuestDisk, Topology},
};

/// The definition of a running VM. What Holdfast has defined itself is taken from there; the disks are those that the VM has.
pub(crate) async fn discover(monitor: &Monitor, vm: &VmAccess, topology: &Topology) -> Result<VmDefinition> {
    let mut definition = match &vm.origin {
        VmOrigin::Managed { definition } => launch::with_stable_macs(vm.vm_id, definition),
        VmOrigin::External { .. } => ask(monitor, vm, topology).await?,
    };
    let known = std::mem::take(&mut definition.disks);
    let disks = topology.disks.iter().map(|disk| {
        let known = known.iter().find(|known| known.name == disk.name);
        known.cloned().unwrap_or_else(|| disk_definition(disk))
    });
    definition.disks = disks.collect();
    if let Firmware::Uefi { variables: variables @ None } = &mut definition.firmware {
        variables.clone_from(&topology.firmware_variables);
    }
    Ok(definition)
}

async fn ask(monitor: &Monitor, vm: &VmAccess, topology: &Topology) -> Result<VmDefinition> {
    let name = monitor.query("query-name").await?["name"].as_str().and_then(|name| name.parse().ok());
    let uuid = monitor.query("query-uuid").await?["UUID"].as_str().map(str::to_owned);
    let memory = monitor.query("query-memory-size-summary").await?;
    let memory_bytes =
        ["base-memory", "plugged-memory"].map(|part| memory[part].as_u64().unwrap_or_default());
    let cpus = monitor.query("query-cpus-fast").await?.as_array().map_or(1, Vec::len);
    let machine = machine_text(monitor, "type").await?;
    Ok(VmDefinition {
        name: name.unwrap_or_else(|| vm.name.clone()),
        uuid: uuid.filter(|uuid| uuid.chars().any(|digit| digit != '0' && digit != '-')),
        cpus: u32::try_from(cpus).unwrap_or(1),
        memory: memory_bytes.into_iter().map(ByteCount).sum(),
        machine: machine.strip_suffix("-machine").unwrap_or(&machine).to_owned(),
        firmware: firmware(monitor, topology).await?,
        disks: Vec::new(),
        networks: networks::discover(monitor).await?,
        agent: matches!(&vm.origin, VmOrigin::External { agent: Some(_), .. }),
    })
}

async fn firmware(monitor: &Monitor, topology: &Topology) -> Result<Firmware> {
    let kernel = machine_text(monitor, "kernel").await?;
    if !kernel.is_empty() {
        let initrd = machine_text(monitor, "initrd").await?;
        return Ok(Firmware::Kernel {
            kernel: kernel.into(),
            initrd: (!initrd.is_empty()).then(|| initrd.into()),
            arguments: machine_text(monitor, "append").await?,
        });
    }
    let uefi = || Firmware::Uefi { variables: topology.firmware_variables.clone() };
    Ok(if topology.flash { uefi() } else { Firmware::Bios })
}

async fn machine_text(monitor: &Monitor, property: &str) -> Result<String> {
    let value = monitor.property("/machine", property).await?;
    Ok(value.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned())
}

fn disk_definition(disk: &GuestDisk) -> DiskDefinition {
    DiskDefinition {
        name: disk.name.clone(),
        path: Some(disk.path.clone()),
        format: image_format(&disk.driver),
        bus: match disk.device.model.as_str() {
            "scsi-hd" => DiskBus::Scsi,
            "ide-hd" => DiskBus::Sata,
            "nvme" | "nvme-ns" => DiskBus::Nvme,
            _ => DiskBus::Virtio,
        },
        serial: disk.device.serial.clone(),
        iothread: disk.device.iothread,
    }
}

/// The image format behind a node's driver; none for formats that Holdfast does not write.
pub(crate) fn image_format(driver: &str) -> Option<DiskFormat> {
    match driver {
        "qcow2" => Some(DiskFormat::Qcow2),
        "raw" | "file" | "host_device" => Some(DiskFormat::Raw),
        _ => None,
    }
}
