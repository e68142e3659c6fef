//! Reads the topology from the monitor.

use std::{fmt, path::PathBuf};

use hypervisor::{Error, ErrorKind, Result, VmAccess, VmOrigin};
use model::{DiskDefinition, DiskName};
use serde_json::{Value, json};

use super::{
    Bitmap,
    nodes::{Nodes, below_captures, entries, file_path, is_disk_size},
};
use crate::{launch, monitor::Monitor};

/// The storage of a running VM.
#[derive(Debug, Clone, Default)]
pub(crate) struct Topology {
    /// The disks that a capture holds, in QEMU's order.
    pub(crate) disks: Vec<GuestDisk>,
    /// Drives that look like disks and are left out, and why.
    pub(crate) omissions: Vec<Omission>,
    /// Whether the firmware comes from flash: UEFI.
    pub(crate) flash: bool,
    /// The file of UEFI's variables.
    pub(crate) firmware_variables: Option<PathBuf>,
}

/// A drive that no capture holds.
#[derive(Debug, Clone)]
pub(crate) struct Omission {
    pub(crate) name: String,
    pub(crate) reason: &'static str,
}

impl fmt::Display for Omission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "The drive {} is not backed up: {}.", self.name, self.reason)
    }
}

/// A disk of the guest.
#[derive(Debug, Clone)]
pub(crate) struct GuestDisk {
    pub(crate) name: DiskName,
    pub(crate) device: Device,
    /// The node that the device is attached to now.
    pub(crate) root_node: String,
    /// The highest node that belongs to no capture; none when QEMU does not tell.
    pub(crate) below_captures: Option<String>,
    /// The node below all filters; bitmaps live here.
    pub(crate) format_node: String,
    /// The format node's driver.
    pub(crate) driver: String,
    pub(crate) path: PathBuf,
    pub(crate) size_bytes: u64,
    /// Whether the image keeps bitmaps over the end of QEMU.
    pub(crate) keeps_bitmaps: bool,
    /// Holdfast's bitmaps.
    pub(crate) bitmaps: Vec<Bitmap>,
}

/// The device that shows a disk to the guest.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    /// Its path in the object tree.
    pub(crate) qom_path: String,
    /// What block commands and statistics call it.
    pub(crate) backend: String,
    /// Its type, such as `virtio-blk-device`.
    pub(crate) model: String,
    pub(crate) serial: Option<String>,
    /// Whether its I/O runs outside QEMU's main loop.
    pub(crate) iothread: bool,
    /// Whether other machines may write to its image too, past this QEMU.
    pub(crate) shared: bool,
    /// Whether QEMU calls its drive by a name of its own, as with `-drive`, rather than by that of the node.
    pub(crate) named_backend: bool,
}

impl Topology {
    /// Reads the topology of a VM. Changes nothing.
    pub(crate) async fn read(monitor: &Monitor, vm: &VmAccess) -> Result<Self> {
        let mut topology = Self::ask(monitor).await?;
        if let VmOrigin::Managed { definition } = &vm.origin {
            topology.rename(&definition.disks);
        }
        Ok(topology)
    }

    /// Gives disks that Holdfast started under a made-up id their names back.
    fn rename(&mut self, definitions: &[DiskDefinition]) {
        for (definition, id) in definitions.iter().zip(launch::device_ids(definitions)) {
            if let Some(disk) = self.disks.iter_mut().find(|disk| disk.name.as_str() == id) {
                disk.name = definition.name.clone();
            }
        }
    }

    async fn ask(monitor: &Monitor) -> Result<Self> {
        let blocks = monitor.query("query-block").await?;
        let stats = monitor.query("query-blockstats").await?;
        let nodes = monitor.execute("query-named-block-nodes", json!({"flat": true})).await?;
        let nodes = Nodes::new(&nodes);
        let mut topology = Self::default();
        for block in entries(&blocks) {
            let Some(qdev) = block["qdev"].as_str() else { continue };
            let qom_path =
                if qdev.starts_with('/') { qdev.to_owned() } else { format!("/machine/peripheral/{qdev}") };
            let model = text(monitor.property(&qom_path, "type").await?);
            let inserted = &block["inserted"];
            match model.as_str() {
                "cfi.pflash01" => topology.take_flash(&qom_path, inserted),
                "ide-cd" | "scsi-cd" | "floppy" => {}
                _ if inserted.is_null() => {}
                _ => {
                    let device = read_device(monitor, block, qom_path, model).await?;
                    let device_stats = entries(&stats).find(|entry| entry["qdev"] == qdev);
                    topology.take_disk(monitor, block, device, device_stats, &nodes).await?;
                }
            }
        }
        Ok(topology)
    }

    fn take_flash(&mut self, qom_path: &str, inserted: &Value) {
        self.flash = true;
        if qom_path.ends_with("flash1") {
            self.firmware_variables = inserted["file"].as_str().map(file_path);
        }
    }

    async fn take_disk(
        &mut self,
        monitor: &Monitor,
        block: &Value,
        device: Device,
        stats: Option<&Value>,
        nodes: &Nodes<'_>,
    ) -> Result<()> {
        let name = disk_name(&device, block["device"].as_str().unwrap_or_default());
        let mut omit = |reason| self.omissions.push(Omission { name: name.clone(), reason });
        if block["inserted"]["ro"] == true {
            omit("it is read-only");
            return Ok(());
        }
        let broken = |what: &str| {
            Error::new(ErrorKind::Failed, format!("QEMU describes the disk {name} without {what}"))
        };
        let format_node =
            stats.and_then(|stats| nodes.format_node(stats)).ok_or_else(|| broken("its nodes"))?;
        let node = nodes.get(format_node).ok_or_else(|| broken("its image"))?;
        let size_bytes = node["image"]["virtual-size"].as_u64().ok_or_else(|| broken("its size"))?;
        if !is_disk_size(size_bytes) {
            omit("its size is not a multiple of 512 bytes");
            return Ok(());
        }
        let Ok(valid_name) = name.parse() else {
            omit("its name is not one that Holdfast can keep");
            return Ok(());
        };
        let driver = node["drv"].as_str().unwrap_or_default();
        let compatibility = &node["image"]["format-specific"]["data"]["compat"];
        self.disks.push(GuestDisk {
            name: valid_name,
            root_node: root_node(monitor, block, &device).await?.ok_or_else(|| broken("its root"))?,
            below_captures: stats.and_then(below_captures).map(str::to_owned),
            format_node: format_node.to_owned(),
            driver: driver.to_owned(),
            path: file_path(node["file"].as_str().unwrap_or_default()),
            size_bytes,
            keeps_bitmaps: driver == "qcow2" && compatibility == "1.1",
            bitmaps: entries(&node["dirty-bitmaps"]).filter_map(Bitmap::of_node).collect(),
            device,
        });
        Ok(())
    }
}

async fn read_device(monitor: &Monitor, block: &Value, qom_path: String, model: String) -> Result<Device> {
    let serial = text(monitor.property(&qom_path, "serial").await?);
    let bus = text(monitor.property(&qom_path, "parent_bus").await?);
    let controller = bus.rsplit_once('/').map_or("", |(controller, _)| controller);
    let iothread = has_iothread(monitor, &qom_path).await? || has_iothread(monitor, controller).await?;
    let shared = monitor.property(&qom_path, "share-rw").await? == Some(Value::Bool(true));
    let backend_name = block["device"].as_str().unwrap_or_default();
    Ok(Device {
        backend: block["qdev"].as_str().unwrap_or_default().to_owned(),
        serial: (!serial.is_empty()).then_some(serial),
        named_backend: !backend_name.is_empty(),
        qom_path,
        model,
        iothread,
        shared,
    })
}

async fn has_iothread(monitor: &Monitor, qom_path: &str) -> Result<bool> {
    let one = text(monitor.property(qom_path, "iothread").await?);
    let several = monitor.property(qom_path, "iothread-vq-mapping").await?;
    Ok(!one.is_empty() || several.is_some_and(|mapping| entries(&mapping).next().is_some()))
}

/// The node at the top. `query-block` hides filters that a block job put there without naming them; the device does not.
async fn root_node(monitor: &Monitor, block: &Value, device: &Device) -> Result<Option<String>> {
    let shown = block["inserted"]["node-name"].as_str().map(str::to_owned);
    if device.named_backend {
        return Ok(shown);
    }
    let drive = text(monitor.property(&device.qom_path, "drive").await?);
    Ok(if drive.is_empty() { shown } else { Some(drive) })
}

/// The name of a disk: its device's id, or what QEMU calls the drive or the device for want of one.
fn disk_name(device: &Device, backend_name: &str) -> String {
    let parts: Vec<&str> = device.qom_path.trim_start_matches("/machine/").split('/').collect();
    match parts[..] {
        ["peripheral", id, ..] => id.to_owned(),
        _ if !backend_name.is_empty() => backend_name.to_owned(),
        [_, place, ..] => place.to_owned(),
        _ => device.qom_path.clone(),
    }
}

fn text(value: Option<Value>) -> String {
    value.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}
