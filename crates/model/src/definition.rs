//! What a VM is made of, apart from the bytes on its disks: enough to build it again.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ByteCount, DiskName, VmName};

/// The definition of a VM. Written by people as TOML, discovered from a running QEMU, and kept in every recovery point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct VmDefinition {
    /// The VM's name.
    pub name: VmName,
    /// The SMBIOS UUID shown to the guest; none lets QEMU choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Virtual CPUs.
    #[serde(default = "one_cpu")]
    pub cpus: u32,
    /// Memory in bytes; in TOML a number, or text such as "2GiB".
    #[serde(deserialize_with = "size_or_text")]
    pub memory: ByteCount,
    /// QEMU's machine type, such as `q35`.
    #[serde(default = "default_machine")]
    pub machine: String,
    /// What starts the guest.
    #[serde(default)]
    pub firmware: Firmware,
    /// The disks, in boot order.
    #[serde(default, rename = "disk")]
    pub disks: Vec<DiskDefinition>,
    /// The network interfaces, in slot order.
    #[serde(default, rename = "network")]
    pub networks: Vec<NetworkDefinition>,
    /// Whether the VM has a channel for the guest agent.
    #[serde(default = "yes")]
    pub agent: bool,
}

/// What starts the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Firmware {
    /// SeaBIOS.
    #[default]
    Bios,
    /// OVMF with a variable store of the VM's own.
    Uefi {
        /// The variable store; created from OVMF's template where it does not exist.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        variables: Option<PathBuf>,
    },
    /// A kernel that QEMU loads from the host.
    Kernel {
        /// The kernel image.
        kernel: PathBuf,
        /// The initial RAM disk.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        initrd: Option<PathBuf>,
        /// The kernel's command line.
        #[serde(default)]
        arguments: String,
    },
}

/// One disk of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DiskDefinition {
    /// The disk's name: the device's id in QEMU.
    pub name: DiskName,
    /// The image file or block device; its size is discovered from it. Empty in a recovery point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The image's format. Discovered when the VM becomes known and fixed from then on: a guest that may write the first
    /// bytes of a raw disk could otherwise dress it up as another format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<DiskFormat>,
    /// The device model.
    #[serde(default)]
    pub bus: DiskBus,
    /// The serial number shown to the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Whether the disk has an I/O thread of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub iothread: bool,
}

/// The device model of a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskBus {
    /// `virtio-blk-pci`.
    #[default]
    Virtio,
    /// `scsi-hd` on a `virtio-scsi-pci` controller.
    Scsi,
    /// `ide-hd` on the machine's AHCI controller.
    Sata,
    /// `nvme`.
    Nvme,
}

/// The format of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskFormat {
    /// The disk's bytes and nothing else.
    Raw,
    /// QEMU's copy-on-write format, version 3.
    Qcow2,
}

impl DiskFormat {
    /// The format's name as QEMU spells it; also the extension of its files, but for raw files `img`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl std::str::FromStr for DiskFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "raw" => Ok(Self::Raw),
            "qcow2" => Ok(Self::Qcow2),
            _ => Err(format!("{text:?} is not a disk format that Holdfast writes: use raw or qcow2")),
        }
    }
}

impl std::fmt::Display for DiskFormat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// One network interface of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NetworkDefinition {
    /// The MAC address; none lets Holdfast choose one that stays the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The device model.
    #[serde(default = "default_network_model")]
    pub model: String,
    /// What the interface is connected to.
    #[serde(default)]
    pub kind: NetworkKind,
    /// The host's bridge, for the kind `bridge`; joined through qemu-bridge-helper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
}

/// What a network interface is connected to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkKind {
    /// QEMU's user-mode network: the guest reaches out, nothing reaches in.
    #[default]
    User,
    /// QEMU's user-mode network with nothing reachable from the guest.
    Isolated,
    /// A bridge of the host.
    Bridge,
    /// A cable plugged in nowhere.
    Disconnected,
}

fn one_cpu() -> u32 {
    1
}

fn yes() -> bool {
    true
}

fn default_machine() -> String {
    "q35".to_owned()
}

fn default_network_model() -> String {
    "virtio-net-pci".to_owned()
}

fn size_or_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ByteCount, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a number of bytes or text such as \"2GiB\"")]
    enum SizeOrText {
        Size(u64),
        Text(String),
    }
    match SizeOrText::deserialize(deserializer)? {
        SizeOrText::Size(bytes) => Ok(ByteCount(bytes)),
        SizeOrText::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}
