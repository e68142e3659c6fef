use std::cell::RefCell;

use proptest::prelude::*;

use super::*;

const SECTORS: u64 = 4096;

struct Memory(RefCell<Vec<u8>>);

impl Bytes for Memory {
    fn read(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.borrow();
        let start = usize::try_from(offset_bytes).map_err(io::Error::other)?;
        let end = start.checked_add(buffer.len()).filter(|end| *end <= bytes.len());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(&bytes[start..end]);
        Ok(())
    }

    fn write(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        let mut all = self.0.borrow_mut();
        let start = usize::try_from(offset_bytes).map_err(io::Error::other)?;
        let end = start.checked_add(bytes.len()).filter(|end| *end <= all.len());
        let end = end.ok_or(io::ErrorKind::WriteZero)?;
        all[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    fn sector(&self, number: u64) -> [u8; 512] {
        let mut sector = [0; 512];
        self.read(number * 512, &mut sector).unwrap();
        sector
    }
}

/// A disk of 4096 sectors that grew to so many; its GPT has two partitions, the second one first in the table.
fn gpt(grown: u64) -> Memory {
    let mut bytes = vec![0; (grown * 512) as usize];
    bytes[MBR_TABLE + 4] = PROTECTIVE;
    bytes[MBR_TABLE + 8..MBR_TABLE + 12].copy_from_slice(&1_u32.to_le_bytes());
    bytes[MBR_TABLE + 12..MBR_TABLE + 16].copy_from_slice(&(SECTORS as u32 - 1).to_le_bytes());
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut table = vec![0; 128 * 128];
    for (index, (first, last)) in [(2048_u64, SECTORS - 34), (64, 2047)].into_iter().enumerate() {
        let entry = &mut table[index * 128..(index + 1) * 128];
        entry[..16].fill(7);
        entry[FIRST_SECTOR..FIRST_SECTOR + 8].copy_from_slice(&first.to_le_bytes());
        entry[LAST_SECTOR..LAST_SECTOR + 8].copy_from_slice(&last.to_le_bytes());
    }
    let mut header = [0; 512];
    header[..8].copy_from_slice(GPT_SIGNATURE);
    header[12..16].copy_from_slice(&92_u32.to_le_bytes());
    set_u64(&mut header, MY_SECTOR, 1);
    set_u64(&mut header, OTHER_SECTOR, SECTORS - 1);
    set_u64(&mut header, FIRST_USABLE, 34);
    set_u64(&mut header, LAST_USABLE, SECTORS - 34);
    set_u64(&mut header, TABLE_SECTOR, 2);
    header[TABLE_ENTRIES..TABLE_ENTRIES + 4].copy_from_slice(&128_u32.to_le_bytes());
    header[ENTRY_BYTES..ENTRY_BYTES + 4].copy_from_slice(&128_u32.to_le_bytes());
    bytes[512..1024].copy_from_slice(&sealed(header, &table));
    bytes[1024..1024 + table.len()].copy_from_slice(&table);
    let mut other = header;
    set_u64(&mut other, MY_SECTOR, SECTORS - 1);
    set_u64(&mut other, OTHER_SECTOR, 1);
    bytes[(SECTORS as usize - 1) * 512..SECTORS as usize * 512].copy_from_slice(&sealed(other, &table));
    Memory(RefCell::new(bytes))
}

fn mbr(entries: &[(u8, u32, u32)]) -> Memory {
    let mut bytes = vec![0; 2 * SECTORS as usize * 512];
    for (index, (kind, start, count)) in entries.iter().enumerate() {
        bytes[entry_at(index) + 4] = *kind;
        bytes[entry_at(index) + 8..entry_at(index) + 12].copy_from_slice(&start.to_le_bytes());
        bytes[entry_at(index) + 12..entry_at(index) + 16].copy_from_slice(&count.to_le_bytes());
    }
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    Memory(RefCell::new(bytes))
}

#[test]
fn a_gpt_reaches_the_end_of_its_disk_with_both_headers() {
    let disk = gpt(3 * SECTORS);
    assert_eq!(grow_last(&disk, 3 * SECTORS * 512).unwrap(), Some(1));
    let (first, second) = (disk.sector(1), disk.sector(3 * SECTORS - 1));
    check_header(&first).unwrap();
    check_header(&second).unwrap();
    assert_eq!(u64_at(&first, OTHER_SECTOR), 3 * SECTORS - 1);
    assert_eq!((u64_at(&second, MY_SECTOR), u64_at(&second, OTHER_SECTOR)), (3 * SECTORS - 1, 1));
    assert_eq!(u64_at(&second, TABLE_SECTOR), 3 * SECTORS - 33);
    for table in [2, 3 * SECTORS - 33] {
        assert_eq!(u64_at(&disk.sector(table), LAST_SECTOR), 3 * SECTORS - 34);
        assert_eq!(u64_at(&disk.sector(table)[128..], LAST_SECTOR), 2047, "the other one stays");
    }
    assert_eq!(disk.sector(SECTORS - 1), [0; 512], "nobody finds the old copy");
    assert_eq!(u32_at(&disk.sector(0), MBR_TABLE + 12), 3 * SECTORS as u32 - 1);
    let before = disk.0.borrow().clone();
    assert_eq!(grow_last(&disk, 3 * SECTORS * 512).unwrap(), Some(1));
    assert!(*disk.0.borrow() == before, "it is grown already");
}

#[test]
fn the_last_partition_of_an_mbr_grows() {
    let disk = mbr(&[(0x83, 2048, 1000), (0x82, 64, 1000)]);
    assert_eq!(grow_last(&disk, 2 * SECTORS * 512).unwrap(), Some(1));
    assert_eq!(u32_at(&disk.sector(0), MBR_TABLE + 12), 2 * SECTORS as u32 - 2048);
    let disk = mbr(&[(0x83, 64, 1000), (0x05, 2048, 1000)]);
    assert_eq!(grow_last(&disk, 2 * SECTORS * 512).unwrap_err().kind(), io::ErrorKind::Unsupported);
}

#[test]
fn a_disk_without_partitions_stays_as_it_is() {
    let disk = Memory(RefCell::new(vec![0; 1 << 20]));
    assert_eq!(grow_last(&disk, 1 << 20).unwrap(), None);
}

#[test]
fn a_damaged_gpt_is_left_alone() {
    for place in [512 + 8, 512 + 60, 1024 + 40] {
        let disk = gpt(2 * SECTORS);
        disk.0.borrow_mut()[place] ^= 1;
        let before = disk.0.borrow().clone();
        assert_eq!(grow_last(&disk, 2 * SECTORS * 512).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(*disk.0.borrow() == before, "{place}");
    }
}

/// A disk whose GPT has both its copies.
fn whole_gpt() -> Memory {
    let disk = gpt(2 * SECTORS);
    grow_last(&disk, SIZE_BYTES).unwrap();
    disk
}

const SIZE_BYTES: u64 = 2 * SECTORS * 512;

#[test]
fn a_damaged_gpt_becomes_what_it_was_by_its_copy() {
    let before = whole_gpt().0.borrow().clone();
    for place in [512 + 8, 512 + 60, 1024 + 40] {
        let disk = whole_gpt();
        disk.0.borrow_mut()[place] ^= 1;
        assert!(mend(&disk, SIZE_BYTES, false).unwrap(), "{place}");
        assert!(*disk.0.borrow() == before, "{place}");
        assert!(!mend(&disk, SIZE_BYTES, false).unwrap(), "nothing is left to do");
    }
    let disk = whole_gpt();
    disk.0.borrow_mut()[..34 * 512].fill(0);
    assert!(!mend(&disk, SIZE_BYTES, false).unwrap(), "there is something else on the disk");
    assert!(mend(&disk, SIZE_BYTES, true).unwrap());
    assert!(*disk.0.borrow() == before);
}

#[test]
fn a_copy_is_believed_only_where_it_belongs_to_the_disk() {
    let of_old_kind = whole_gpt();
    of_old_kind.0.borrow_mut()[MBR_TABLE + 4] = 0x83;
    of_old_kind.0.borrow_mut()[512] ^= 1;
    let with_damaged_copy = whole_gpt();
    with_damaged_copy.0.borrow_mut()[512] ^= 1;
    with_damaged_copy.0.borrow_mut()[(2 * SECTORS as usize - 33) * 512 + 40] ^= 1;
    for disk in [of_old_kind, with_damaged_copy, whole_gpt()] {
        let before = disk.0.borrow().clone();
        assert!(!mend(&disk, SIZE_BYTES, true).unwrap());
        assert!(*disk.0.borrow() == before);
    }
}

proptest! {
    #[test]
    fn a_stranger_s_copy_does_no_harm(places in proptest::collection::vec((0_usize..34 * 512, any::<u8>()), 1..20), sealed_again in any::<bool>()) {
        let disk = whole_gpt();
        disk.0.borrow_mut()[512] ^= 1;
        let start = (2 * SECTORS as usize - 34) * 512;
        for (place, byte) in places {
            disk.0.borrow_mut()[start + place] = byte;
        }
        if sealed_again {
            let table = disk.0.borrow()[start + 512..][..128 * 128].to_vec();
            disk.write(SIZE_BYTES - 512, &sealed(disk.sector(2 * SECTORS - 1), &table)).unwrap();
        }
        // No panic, whatever comes of it.
        let _ = mend(&disk, SIZE_BYTES, true);
    }

    #[test]
    fn a_stranger_s_table_does_no_harm(places in proptest::collection::vec((440_usize..2048, any::<u8>()), 1..20), sealed_again in any::<bool>()) {
        let disk = gpt(2 * SECTORS);
        for (place, byte) in places {
            disk.0.borrow_mut()[place] = byte;
        }
        if sealed_again {
            let header = disk.sector(1);
            let table = disk.0.borrow()[1024..1024 + 128 * 128].to_vec();
            disk.write(512, &sealed(header, &table)).unwrap();
        }
        // No panic, whatever comes of it.
        let _ = grow_last(&disk, 2 * SECTORS * 512);
    }
}
