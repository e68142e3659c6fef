//! The last partition of a disk that became larger, made to reach its end: GPT with both its headers, or MBR.
//!
//! Sectors have 512 bytes, as those of the machine's disks do. All numbers come from a stranger's disk.

mod mend;

use std::{fs::File, io, os::unix::fs::FileExt as _};

pub(super) use mend::mend;

use crate::crc::Crc;

const SECTOR_BYTES: u64 = 512;

/// Where the table of an MBR is in its sector, and how long an entry is ("UEFI Specification", §5.2.1).
const MBR_TABLE: usize = 446;
const MBR_ENTRY_BYTES: usize = 16;

/// Types of MBR partitions: nothing, those that hold others, and the one that stands for a GPT.
const EMPTY: u8 = 0;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
const PROTECTIVE: u8 = 0xee;

/// A GPT's header ("UEFI Specification", §5.3.2): its length in this version, and the offsets of its fields.
const GPT_SIGNATURE: &[u8] = b"EFI PART";
const GPT_HEADER_BYTES: usize = 92;
const FIRST_HEADER: u64 = 1;
const HEADER_CRC: usize = 16;
const MY_SECTOR: usize = 24;
const OTHER_SECTOR: usize = 32;
const FIRST_USABLE: usize = 40;
const LAST_USABLE: usize = 48;
const TABLE_SECTOR: usize = 72;
const TABLE_ENTRIES: usize = 80;
const ENTRY_BYTES: usize = 84;
const TABLE_CRC: usize = 88;

/// In an entry of its table: the type, which is zero for none, the first and the last sector.
const TYPE_BYTES: usize = 16;
const FIRST_SECTOR: usize = 32;
const LAST_SECTOR: usize = 40;

/// The largest table that is believed.
const TABLE_MAX_BYTES: u64 = 1 << 20;

/// Something that is read and written in place.
pub(super) trait Bytes {
    fn read(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()>;
    fn write(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes durable what was written.
    fn sync(&self) -> io::Result<()>;
}

impl Bytes for File {
    fn read(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset_bytes)
    }

    fn write(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Makes the last partition reach the end of the disk. Returns its number; none for a disk without partitions.
pub(super) fn grow_last(disk: &impl Bytes, size_bytes: u64) -> io::Result<Option<u32>> {
    let mut mbr = [0; SECTOR_BYTES as usize];
    disk.read(0, &mut mbr)?;
    if mbr[510..] != [0x55, 0xaa] {
        return Ok(None);
    }
    let sectors = size_bytes / SECTOR_BYTES;
    let kinds: Vec<u8> = (0..4).map(|index| mbr[entry_at(index) + 4]).collect();
    if kinds.contains(&PROTECTIVE) {
        return grow_gpt(disk, mbr, sectors).map(Some);
    }
    // The boot sector of a file system without partitions ends like an MBR.
    let plausible = (0..4).all(|index| mbr[entry_at(index)] & 0x7f == 0);
    if !plausible || kinds.iter().all(|kind| *kind == EMPTY) {
        return Ok(None);
    }
    grow_mbr(disk, mbr, &kinds, sectors).map(Some)
}

fn entry_at(index: usize) -> usize {
    MBR_TABLE + index * MBR_ENTRY_BYTES
}

fn grow_mbr(disk: &impl Bytes, mut mbr: [u8; 512], kinds: &[u8], sectors: u64) -> io::Result<u32> {
    if kinds.iter().any(|kind| EXTENDED.contains(kind)) {
        return Err(unsupported("the disk has logical partitions"));
    }
    let start_of = |mbr: &[u8; 512], index| u64::from(u32_at(mbr, entry_at(index) + 8));
    let used = (0..4).filter(|&index| kinds[index] != EMPTY);
    let last = used.max_by_key(|&index| start_of(&mbr, index)).unwrap_or_default();
    let start = start_of(&mbr, last);
    let present = u64::from(u32_at(&mbr, entry_at(last) + 12));
    // What 32 bits can number.
    let wanted = sectors.min(u64::from(u32::MAX)).saturating_sub(start);
    if wanted > present {
        let wanted = u32::try_from(wanted).map_err(io::Error::other)?;
        mbr[entry_at(last) + 12..entry_at(last) + 16].copy_from_slice(&wanted.to_le_bytes());
        disk.write(0, &mbr)?;
        disk.sync()?;
    }
    Ok(last as u32 + 1)
}

/// The copy at the end of the disk is made first: until the header at its start is written, the disk is as it was.
fn grow_gpt(disk: &impl Bytes, mut mbr: [u8; 512], sectors: u64) -> io::Result<u32> {
    let Gpt { mut header, mut table } = Gpt::read(disk, FIRST_HEADER)?;
    let entry_bytes = u32_at(&header, ENTRY_BYTES) as usize;
    let table_sectors = sectors_of(&table);
    let backup = sectors.checked_sub(1).ok_or_else(|| damaged("the disk is empty"))?;
    let last_usable =
        backup.checked_sub(table_sectors + 1).ok_or_else(|| damaged("the disk is too small"))?;
    let used = table.chunks_exact(entry_bytes).enumerate();
    let used = used.filter(|(_, entry)| entry[..TYPE_BYTES].iter().any(|byte| *byte != 0));
    let (number, last, first) = used
        .map(|(index, entry)| (index, u64_at(entry, LAST_SECTOR), u64_at(entry, FIRST_SECTOR)))
        .max_by_key(|(_, last, _)| *last)
        .ok_or_else(|| unsupported("the GPT has no partition"))?;
    if first > last || last > last_usable {
        return Err(damaged("the last partition of the GPT reaches behind the disk"));
    }
    let old_backup = u64_at(&header, OTHER_SECTOR);
    let place = number * entry_bytes + LAST_SECTOR;
    table[place..place + 8].copy_from_slice(&last_usable.to_le_bytes());
    set_u64(&mut header, LAST_USABLE, last_usable);
    set_u64(&mut header, OTHER_SECTOR, backup);
    let mut other = header;
    set_u64(&mut other, MY_SECTOR, backup);
    set_u64(&mut other, OTHER_SECTOR, 1);
    set_u64(&mut other, TABLE_SECTOR, backup - table_sectors);
    disk.write(byte_offset(backup - table_sectors)?, &table)?;
    disk.write(byte_offset(backup)?, &sealed(other, &table))?;
    disk.sync()?;
    disk.write(byte_offset(u64_at(&header, TABLE_SECTOR))?, &table)?;
    disk.write(SECTOR_BYTES, &sealed(header, &table))?;
    protect(&mut mbr, sectors);
    disk.write(0, &mbr)?;
    // Lies inside a partition by now, where it would be found once more.
    if old_backup != backup && old_backup > last && old_backup < sectors {
        disk.write(byte_offset(old_backup)?, &[0; SECTOR_BYTES as usize])?;
    }
    disk.sync()?;
    u32::try_from(number + 1).map_err(io::Error::other)
}

/// A GPT as it is on the disk.
struct Gpt {
    header: [u8; SECTOR_BYTES as usize],
    table: Vec<u8>,
}

impl Gpt {
    /// The GPT whose header is in this sector; an error unless all of it is as it was written.
    fn read(disk: &impl Bytes, sector: u64) -> io::Result<Self> {
        let mut header = [0; SECTOR_BYTES as usize];
        disk.read(byte_offset(sector)?, &mut header)?;
        check_header(&header)?;
        if u64_at(&header, MY_SECTOR) != sector {
            return Err(damaged("the GPT's header is that of another sector"));
        }
        let entry_bytes = u64::from(u32_at(&header, ENTRY_BYTES));
        let table_bytes = u64::from(u32_at(&header, TABLE_ENTRIES)) * entry_bytes;
        if entry_bytes < 128 || table_bytes > TABLE_MAX_BYTES || table_bytes == 0 {
            return Err(damaged("the GPT's table has an impossible size"));
        }
        let mut table = vec![0; table_bytes as usize];
        disk.read(byte_offset(u64_at(&header, TABLE_SECTOR))?, &mut table)?;
        if crc(&table) != u32_at(&header, TABLE_CRC) {
            return Err(damaged("the checksum of the GPT's table is wrong"));
        }
        Ok(Self { header, table })
    }
}

fn sectors_of(table: &[u8]) -> u64 {
    (table.len() as u64).div_ceil(SECTOR_BYTES)
}

fn check_header(header: &[u8; 512]) -> io::Result<()> {
    let length = u32_at(header, 12) as usize;
    if !header.starts_with(GPT_SIGNATURE) || !(GPT_HEADER_BYTES..=header.len()).contains(&length) {
        return Err(damaged("the disk's GPT has no header"));
    }
    let mut unsigned = *header;
    unsigned[HEADER_CRC..HEADER_CRC + 4].fill(0);
    if crc(&unsigned[..length]) != u32_at(header, HEADER_CRC) {
        return Err(damaged("the checksum of the GPT's header is wrong"));
    }
    Ok(())
}

/// A header with its checksums.
fn sealed(mut header: [u8; 512], table: &[u8]) -> [u8; 512] {
    let length = (u32_at(&header, 12) as usize).min(header.len());
    header[TABLE_CRC..TABLE_CRC + 4].copy_from_slice(&crc(table).to_le_bytes());
    header[HEADER_CRC..HEADER_CRC + 4].fill(0);
    let checksum = crc(&header[..length]);
    header[HEADER_CRC..HEADER_CRC + 4].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Makes the entry that keeps programs away which do not know GPT cover the whole disk.
fn protect(mbr: &mut [u8; 512], sectors: u64) {
    let covered = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    for index in (0..4).filter(|&index| mbr[entry_at(index) + 4] == PROTECTIVE).collect::<Vec<_>>() {
        // One that protects only a part is meant so.
        if u32_at(mbr, entry_at(index) + 8) == 1 {
            mbr[entry_at(index) + 12..entry_at(index) + 16].copy_from_slice(&covered.to_le_bytes());
        }
    }
}

fn byte_offset(sector: u64) -> io::Result<u64> {
    sector.checked_mul(SECTOR_BYTES).ok_or_else(|| damaged("a sector's number is impossible"))
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::default();
    crc.update(bytes);
    crc.finish()
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| bytes[offset + index]))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[offset + index]))
}

fn set_u64(header: &mut [u8; 512], offset: usize, value: u64) {
    header[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn unsupported(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what)
}

#[cfg(test)]
mod tests;
