//! The machine's disks and their partitions.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{
    init::wait_for,
    partitions,
    probe::{Content, probe},
    requests,
};

/// Where the kernel lists block devices.
const BLOCK_DEVICES: &str = "/sys/block";

/// The kernel counts sizes of devices in sectors of 512 bytes, whatever the device's own are.
const SECTOR_BYTES: u64 = 512;

/// A block device that may hold something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    /// What the volume on it is called.
    pub(super) name: String,
    /// Its node.
    pub(super) node: PathBuf,
    /// Its size.
    pub(super) size_bytes: u64,
}

impl Device {
    /// A device by its node, as `/dev/mapper/x` or `/dev/md127`.
    pub(super) fn of_node(name: String, node: PathBuf) -> Self {
        let real = fs::canonicalize(&node).unwrap_or_else(|_| node.clone());
        let kernel_name =
            real.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self { name, node, size_bytes: size_bytes(&Path::new(BLOCK_DEVICES).join(kernel_name)) }
    }

    /// The partitions of a disk, as [`Device::or_partitions`] has them; where its first table is damaged, by the copy at its
    /// end. What is written for that stays in the machine.
    pub(super) fn or_partitions_by_copy(self) -> Vec<Self> {
        let found = self.clone().or_partitions();
        let has_partitions = found.first().is_some_and(|first| first.node != self.node);
        if has_partitions || !self.mend_table().unwrap_or(false) {
            return found;
        }
        eprintln!("the first partition table of {} is damaged: the copy at its end is used", self.name);
        self.or_partitions()
    }

    /// Returns once the partitions are there that a damaged table had; whether there are any.
    fn mend_table(&self) -> io::Result<bool> {
        let is_unknown = probe(&self.node, self.size_bytes)? == Content::Unknown;
        let disk = File::options().read(true).write(true).open(&self.node)?;
        if !partitions::mend(&disk, self.size_bytes, is_unknown)? {
            return Ok(false);
        }
        requests::read_partitions(&disk)?;
        drop(disk);
        // The kernel makes the nodes behind the back of whoever asked.
        let are_there = |partitions: Vec<Self>| partitions.iter().all(|partition| partition.node.exists());
        wait_for(|| are_there(self.clone().or_partitions()).then_some(()))?;
        Ok(true)
    }

    /// The device's partitions, in order; itself where it has none. Those that claim the very sectors of one before them are
    /// left out: a table can lead back to its own start, and is then told a hundred times.
    pub(super) fn or_partitions(self) -> Vec<Self> {
        let real = fs::canonicalize(&self.node).unwrap_or_else(|_| self.node.clone());
        let Some(kernel_name) = real.file_name() else { return vec![self] };
        let directory = Path::new(BLOCK_DEVICES).join(kernel_name);
        let mut partitions: Vec<(u32, u64, Self)> = entries(&directory)
            .filter_map(|path| {
                let number = |file: &str| fs::read_to_string(path.join(file)).ok();
                let start = number("start")?.trim().parse().ok()?;
                let number = number("partition")?.trim().parse().ok()?;
                let node = Path::new("/dev").join(path.file_name()?);
                let name = format!("{}-{number}", self.name);
                Some((number, start, Self { name, node, size_bytes: size_bytes(&path) }))
            })
            .collect();
        partitions.sort_by_key(|(number, ..)| *number);
        let mut seen = BTreeSet::new();
        partitions.retain(|(_, start, partition)| seen.insert((*start, partition.size_bytes)));
        if partitions.is_empty() {
            vec![self]
        } else {
            partitions.into_iter().map(|(.., partition)| partition).collect()
        }
    }
}

/// The disks, by the names that the host calls them.
pub(super) fn disks(names: &[String]) -> io::Result<Vec<Device>> {
    let find = |serial: &str| {
        entries(Path::new(BLOCK_DEVICES))
            .find(|path| fs::read_to_string(path.join("serial")).is_ok_and(|found| found.trim() == serial))
    };
    let disks = names.iter().enumerate().map(|(index, name)| {
        let path = wait_for(|| find(&format!("d{index}")))?;
        let kernel_name = path.file_name().unwrap_or_default();
        let node = Path::new("/dev").join(kernel_name);
        wait_for(|| node.exists().then_some(()))?;
        Ok(Device { name: name.clone(), node, size_bytes: size_bytes(&path) })
    });
    disks.collect()
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn size_bytes(directory: &Path) -> u64 {
    let sectors = fs::read_to_string(directory.join("size")).ok();
    sectors.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0).saturating_mul(SECTOR_BYTES)
}
