//! Which volumes the disks hold: partitions, arrays, logical volumes and what is encrypted, one inside the other.

use std::{collections::BTreeSet, io, path::PathBuf};

use super::{
    assemble,
    devices::{self, Device},
    init::Modules,
    probe::{BtrfsDevice, Content, probe},
};
use crate::{Volume, VolumeState, limits::VOLUMES_MAX};

/// How often containers are opened: each may hold others.
const DEPTH_MAX: usize = 4;

/// A volume, and what it takes to mount it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) volume: Volume,
    /// The file system in the kernel's words.
    pub(super) file_system: &'static str,
    /// The device, and for a btrfs all of its devices.
    pub(super) nodes: Vec<PathBuf>,
    /// What no other that is mounted may share: the kernel takes two btrfs of one id for one.
    pub(super) exclusive_id: Option<[u8; 16]>,
}

/// A btrfs among the found.
struct Btrfs {
    index: usize,
    first: BtrfsDevice,
    /// The numbers of the devices that were found.
    numbers: BTreeSet<u64>,
}

impl Btrfs {
    /// Whether a device may belong to it. One that it has already belongs to a copy of it, on other disks of the same VM.
    fn lacks(&self, device: &BtrfsDevice) -> bool {
        self.first.id == device.id && !self.numbers.contains(&device.number)
    }
}

/// The search as far as it has come.
#[derive(Default)]
struct Search {
    found: Vec<Located>,
    btrfs: Vec<Btrfs>,
    seen: BTreeSet<PathBuf>,
    has_arrays: bool,
    has_groups: bool,
}

/// Finds the volumes of these disks, sorted by name.
pub(super) fn find(
    disks: &[String],
    passphrases: &[Vec<u8>],
    modules: &mut Modules,
) -> io::Result<Vec<Located>> {
    let mut search = Search::default();
    let mut devices: Vec<Device> =
        devices::disks(disks)?.into_iter().flat_map(Device::or_partitions_by_copy).collect();
    for _ in 0..DEPTH_MAX {
        let mut opened = Vec::new();
        for device in devices {
            if search.seen.insert(device.node.clone()) {
                opened.extend(search.examine(device, passphrases, modules)?);
            }
        }
        if search.has_arrays {
            opened.extend(assemble::arrays(modules));
        }
        if search.has_groups {
            opened.extend(assemble::logical_volumes(modules));
        }
        devices = opened.into_iter().flat_map(Device::or_partitions).collect();
        devices.retain(|device| !search.seen.contains(&device.node));
        if devices.is_empty() {
            break;
        }
    }
    Ok(search.finish())
}

impl Search {
    /// Takes note of a device; returns one that was opened out of it.
    fn examine(
        &mut self,
        device: Device,
        passphrases: &[Vec<u8>],
        modules: &mut Modules,
    ) -> io::Result<Option<Device>> {
        let missing =
            |tool: &str| VolumeState::Unreadable { reason: format!("{tool} is not installed on the host") };
        match probe(&device.node, device.size_bytes)? {
            Content::FileSystem(name) => self.add(device, name, name, VolumeState::Readable),
            Content::Btrfs(part) => self.add_btrfs(device, part),
            Content::Luks => match assemble::unlock(&device, passphrases, modules) {
                assemble::Unlocked::Open(opened) => return Ok(Some(opened)),
                assemble::Unlocked::NoKey => self.add(device, "crypto_LUKS", "", VolumeState::Locked),
                assemble::Unlocked::NoTool => self.add(device, "crypto_LUKS", "", missing("cryptsetup")),
            },
            Content::PhysicalVolume if assemble::has("lvm") => self.has_groups = true,
            Content::PhysicalVolume => self.add(device, "LVM2_member", "", missing("lvm")),
            Content::RaidMember if assemble::has("mdadm") => self.has_arrays = true,
            Content::RaidMember => self.add(device, "linux_raid_member", "", missing("mdadm")),
            Content::Other("swap") | Content::Unknown => {}
            Content::Other(name) => {
                let reason = format!("{name} cannot be read here");
                self.add(device, name, "", VolumeState::Unreadable { reason });
            }
        }
        Ok(None)
    }

    fn add_btrfs(&mut self, device: Device, part: BtrfsDevice) {
        // Devices of one state belong together; a power cut may have come between the writes to two of them.
        let of_same_state = |btrfs: &Btrfs| btrfs.lacks(&part) && btrfs.first.generation == part.generation;
        let place = self.btrfs.iter().position(of_same_state);
        let place = place.or_else(|| self.btrfs.iter().position(|btrfs| btrfs.lacks(&part)));
        if let Some(whole) = place.and_then(|place| self.btrfs.get_mut(place))
            && let Some(located) = self.found.get_mut(whole.index)
        {
            whole.numbers.insert(part.number);
            located.volume.size_bytes = located.volume.size_bytes.saturating_add(device.size_bytes);
            located.nodes.push(device.node);
            return;
        }
        let index = self.found.len();
        self.btrfs.push(Btrfs { index, first: part, numbers: BTreeSet::from([part.number]) });
        self.add(device, "btrfs", "btrfs", VolumeState::Readable);
        self.found[index].exclusive_id = Some(part.id);
    }

    fn add(&mut self, device: Device, content: &str, file_system: &'static str, state: VolumeState) {
        let Device { name, node, size_bytes } = device;
        let volume = Volume { name, content: content.to_owned(), size_bytes, state };
        self.found.push(Located { volume, file_system, nodes: vec![node], exclusive_id: None });
    }

    /// The volumes by name; two of one name get told apart.
    fn finish(mut self) -> Vec<Located> {
        self.found.truncate(VOLUMES_MAX);
        let mut taken = BTreeSet::new();
        for located in &mut self.found {
            let name = located
                .volume
                .name
                .replace(|character: char| character == '/' || character.is_control(), "_");
            let mut unique = name.clone();
            let mut number = 2;
            while !taken.insert(unique.clone()) {
                unique = format!("{name}~{number}");
                number += 1;
            }
            located.volume.name = unique;
        }
        self.found.sort_by(|one, other| one.volume.name.cmp(&other.volume.name));
        self.found
    }
}
