//! Which disks there are at a moment, and which of them are whole.

use std::collections::BTreeMap;

use model::{DiskName, VmId};

use crate::{
    DiskNumber, Error, Mark, Result,
    codec::{Reader, put_text},
    extents::Sectors,
    record::SECTOR_BYTES,
};

/// The most disks in a journal.
pub(crate) const DISKS_MAX: usize = 4096;

/// The largest disk.
const SIZE_BYTES_MAX: u64 = 1 << 60;

/// Bytes that a disk takes at least in a table.
const DISK_BYTES: usize = 31;

/// A disk at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Whose it is.
    pub vm: VmId,
    /// What the hypervisor calls it.
    pub name: DiskName,
    /// Its size.
    pub size_bytes: u64,
    /// Whether the journal has everything that was written to it.
    pub is_whole: bool,
}

/// The disks at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskTable {
    disks: BTreeMap<DiskNumber, Disk>,
    /// Above all numbers that were ever given.
    next: u32,
}

impl DiskTable {
    /// The disks, by number.
    pub fn iter(&self) -> impl Iterator<Item = (DiskNumber, &Disk)> {
        self.disks.iter().map(|(number, disk)| (*number, disk))
    }

    /// The disk of this number.
    #[must_use]
    pub fn get(&self, disk: DiskNumber) -> Option<&Disk> {
        self.disks.get(&disk)
    }

    /// The disks of a VM.
    pub fn of_vm(&self, vm: VmId) -> impl Iterator<Item = (DiskNumber, &Disk)> {
        self.iter().filter(move |(_, disk)| disk.vm == vm)
    }

    /// The VMs, each once.
    #[must_use]
    pub fn vms(&self) -> Vec<VmId> {
        let mut vms: Vec<VmId> = self.disks.values().map(|disk| disk.vm).collect();
        vms.sort_unstable();
        vms.dedup();
        vms
    }

    /// Whether a VM has disks, and all of them are whole.
    #[must_use]
    pub fn is_whole(&self, vm: VmId) -> bool {
        let mut disks = self.of_vm(vm).peekable();
        disks.peek().is_some() && disks.all(|(_, disk)| disk.is_whole)
    }

    /// The number of the next disk.
    pub(crate) fn next_number(&self) -> DiskNumber {
        DiskNumber(self.next)
    }

    /// The same disks, of which nothing is known.
    pub(crate) fn forgotten(&self) -> Self {
        let mut table = self.clone();
        table.disks.values_mut().for_each(|disk| disk.is_whole = false);
        table
    }

    /// Whether both know the same disks, whole or not.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        self.forgotten() == other.forgotten()
    }

    /// Checks that a change lies within its disk, in whole sectors.
    pub(crate) fn check(&self, disk: DiskNumber, sector: u64, sectors: u64) -> Result<()> {
        let known =
            self.disks.get(&disk).ok_or_else(|| Error::invalid(format!("there is no disk {disk}")))?;
        let end = sector.checked_add(sectors).filter(|end| *end <= known.size_bytes / SECTOR_BYTES);
        if end.is_none() || sectors == 0 {
            let context = format!(
                "{sectors} sectors at sector {sector} of disk {disk}, which has {} bytes",
                known.size_bytes
            );
            return Err(Error::invalid(context));
        }
        Ok(())
    }

    /// Makes the table that of the moment after a mark. A mark that makes no sense changes nothing.
    pub(crate) fn apply(&mut self, mark: &Mark) -> Result<()> {
        match mark {
            Mark::Checkpoint(_) => {}
            Mark::DiskAdded { disk, vm, name, size_bytes } => {
                check_size(*size_bytes)?;
                if disk.0 < self.next || disk.0 == u32::MAX {
                    return Err(Error::invalid(format!("the number {disk} was given to a disk before")));
                }
                if self.disks.len() >= DISKS_MAX {
                    return Err(Error::invalid(format!("a journal has at most {DISKS_MAX} disks")));
                }
                self.next = disk.0 + 1;
                let added = Disk { vm: *vm, name: name.clone(), size_bytes: *size_bytes, is_whole: false };
                self.disks.insert(*disk, added);
            }
            Mark::DiskResized { disk, size_bytes } => {
                check_size(*size_bytes)?;
                self.get_mut(*disk)?.size_bytes = *size_bytes;
            }
            Mark::DiskRemoved { disk } => {
                self.get_mut(*disk)?;
                self.disks.remove(disk);
            }
            Mark::EpochBegun { vm } => {
                let of_vm = self.disks.values_mut().filter(|disk| disk.vm == *vm);
                of_vm.for_each(|disk| disk.is_whole = false);
            }
            Mark::DiskWhole { disk } => self.get_mut(*disk)?.is_whole = true,
        }
        Ok(())
    }

    /// What a mark takes from a disk, if anything: when the disk grows again, there are zeros.
    pub(crate) fn cut_off(&self, mark: &Mark) -> Option<Sectors> {
        let Mark::DiskResized { disk, size_bytes } = mark else { return None };
        let (start, end) = (size_bytes / SECTOR_BYTES, self.get(*disk)?.size_bytes / SECTOR_BYTES);
        (start < end).then_some(Sectors { disk: *disk, start, end })
    }

    fn get_mut(&mut self, disk: DiskNumber) -> Result<&mut Disk> {
        self.disks.get_mut(&disk).ok_or_else(|| Error::invalid(format!("there is no disk {disk}")))
    }

    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.next.to_le_bytes());
        bytes.extend((self.disks.len() as u32).to_le_bytes());
        for (number, disk) in &self.disks {
            bytes.extend(number.0.to_le_bytes());
            bytes.push(u8::from(disk.is_whole));
            bytes.extend(disk.vm.as_str().as_bytes());
            bytes.extend(disk.size_bytes.to_le_bytes());
            put_text(bytes, disk.name.as_str());
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let mut table = Self { disks: BTreeMap::new(), next: reader.u32()? };
        let count = reader.count(DISK_BYTES)?;
        if count > DISKS_MAX {
            return Err(reader.error("has too many disks"));
        }
        for _ in 0..count {
            let (number, is_whole) = (DiskNumber(reader.u32()?), reader.u8()? != 0);
            let (vm, size_bytes, name) = (reader.id()?, reader.u64()?, reader.text()?);
            if number.0 >= table.next || check_size(size_bytes).is_err() {
                return Err(reader.error("has an impossible disk"));
            }
            if table.disks.insert(number, Disk { vm, name, size_bytes, is_whole }).is_some() {
                return Err(reader.error("has a disk twice"));
            }
        }
        Ok(table)
    }
}

fn check_size(size_bytes: u64) -> Result<()> {
    if size_bytes == 0 || !size_bytes.is_multiple_of(SECTOR_BYTES) || size_bytes > SIZE_BYTES_MAX {
        return Err(Error::invalid(format!("{size_bytes} bytes are no size of a disk")));
    }
    Ok(())
}
