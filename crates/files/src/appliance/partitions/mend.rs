//! A GPT whose first copy is damaged, while the one at the end of the disk is whole.

use std::io;

use super::{
    Bytes, FIRST_HEADER, FIRST_USABLE, Gpt, MBR_TABLE, MY_SECTOR, OTHER_SECTOR, PROTECTIVE, SECTOR_BYTES,
    TABLE_SECTOR, entry_at, protect, sealed, sectors_of, set_u64, u64_at,
};

/// Where the first table is.
const FIRST_TABLE: u64 = 2;

/// Writes the copy of a GPT over a first one that is damaged: the kernel reads no other. Returns whether the disk has another
/// table than before. One whose first sector tells of partitions of the old kind keeps them, whatever was left at its end;
/// one whose first sector is empty and that `is_unknown` otherwise is taken for one whose start was wiped.
pub(in super::super) fn mend(disk: &impl Bytes, size_bytes: u64, is_unknown: bool) -> io::Result<bool> {
    let mut mbr = [0; SECTOR_BYTES as usize];
    disk.read(0, &mut mbr)?;
    let is_wiped = is_unknown && mbr.iter().all(|byte| *byte == 0);
    let is_protected =
        mbr[510..] == [0x55, 0xaa] && (0..4).any(|index| mbr[entry_at(index) + 4] == PROTECTIVE);
    let sectors = size_bytes / SECTOR_BYTES;
    if !(is_wiped || is_protected) || sectors <= FIRST_TABLE || Gpt::read(disk, FIRST_HEADER).is_ok() {
        return Ok(false);
    }
    let Ok(Gpt { mut header, table }) = Gpt::read(disk, sectors - 1) else { return Ok(false) };
    if u64_at(&header, FIRST_USABLE) < FIRST_TABLE + sectors_of(&table) {
        return Ok(false);
    }
    set_u64(&mut header, MY_SECTOR, FIRST_HEADER);
    set_u64(&mut header, OTHER_SECTOR, sectors - 1);
    set_u64(&mut header, TABLE_SECTOR, FIRST_TABLE);
    if is_wiped {
        mbr[MBR_TABLE + 4] = PROTECTIVE;
        mbr[MBR_TABLE + 8] = 1;
        mbr[510..].copy_from_slice(&[0x55, 0xaa]);
        protect(&mut mbr, sectors);
        disk.write(0, &mbr)?;
    }
    disk.write(FIRST_TABLE * SECTOR_BYTES, &table)?;
    disk.write(FIRST_HEADER * SECTOR_BYTES, &sealed(header, &table))?;
    disk.sync()?;
    Ok(true)
}
