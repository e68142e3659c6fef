//! Partition tables, and what contradicts them.

use crate::composed::SECTOR_BYTES;

/// Entries of a table, as partitioning tools make them.
const ENTRIES: u32 = 128;
const ENTRY_BYTES: usize = 128;

/// Where the first partition may begin, in sectors.
pub const FIRST_SECTOR: u64 = 2048;

/// A GUID partition table.
pub struct Gpt {
    pub disk_sectors: u64,
    /// The first and the last sector of each partition.
    pub partitions: Vec<(u64, u64)>,
    /// How many entries it claims to have.
    pub entries: u32,
}

impl Gpt {
    pub fn new(disk_bytes: u64, partitions: &[(u64, u64)]) -> Self {
        Self { disk_sectors: disk_bytes / SECTOR_BYTES, partitions: partitions.to_vec(), entries: ENTRIES }
    }

    /// The first sectors of the disk: the protective table, the header and the entries.
    pub fn front(&self) -> Vec<u8> {
        let mut bytes = vec![0; SECTOR_BYTES as usize];
        let sectors = u32::try_from(self.disk_sectors - 1).unwrap_or(u32::MAX);
        write_entry(&mut bytes, 0, 0xee, 1, sectors);
        bytes.extend(self.header(1, self.disk_sectors - 1, 2));
        bytes.extend(self.table());
        bytes
    }

    /// The last sectors of the disk, and where they begin: the entries and the header once more.
    pub fn back(&self) -> (u64, Vec<u8>) {
        let table = self.table();
        let start = self.disk_sectors - 1 - table.len() as u64 / SECTOR_BYTES;
        let header = self.header(self.disk_sectors - 1, 1, start);
        (start * SECTOR_BYTES, [table, header].concat())
    }

    fn table(&self) -> Vec<u8> {
        let mut table = vec![0; ENTRIES as usize * ENTRY_BYTES];
        for (number, ((first, last), entry)) in
            self.partitions.iter().zip(table.chunks_mut(ENTRY_BYTES)).enumerate()
        {
            // Linux's own type (0FC63DAF-8483-4772-8E79-3D69D8477DE4), and an id that follows from the number.
            entry[..16].copy_from_slice(&[
                0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d,
                0xe4,
            ]);
            entry[16..32].fill(number as u8 + 1);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
        }
        table
    }

    fn header(&self, own: u64, other: u64, table: u64) -> Vec<u8> {
        let mut header = vec![0; SECTOR_BYTES as usize];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
        header[12..16].copy_from_slice(&92_u32.to_le_bytes());
        let numbers = [own, other, 34, self.disk_sectors - 34];
        for (place, number) in numbers.into_iter().enumerate() {
            header[24 + 8 * place..32 + 8 * place].copy_from_slice(&number.to_le_bytes());
        }
        header[56..72].fill(0x77);
        header[72..80].copy_from_slice(&table.to_le_bytes());
        header[80..84].copy_from_slice(&self.entries.to_le_bytes());
        header[84..88].copy_from_slice(&(ENTRY_BYTES as u32).to_le_bytes());
        header[88..92].copy_from_slice(&crc32(&self.table()).to_le_bytes());
        let crc = crc32(&header[..92]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        header
    }
}

/// Writes an entry of a table of the old kind into its sector.
pub fn write_entry(sector: &mut [u8], number: usize, kind: u8, first: u32, count: u32) {
    let entry = &mut sector[446 + 16 * number..462 + 16 * number];
    entry[4] = kind;
    entry[8..12].copy_from_slice(&first.to_le_bytes());
    entry[12..16].copy_from_slice(&count.to_le_bytes());
    sector[510..512].copy_from_slice(&[0x55, 0xaa]);
}

/// The checksum of GPT (its polynomial reflected), and that of btrfs with another polynomial.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc(bytes, 0xedb8_8320)
}

pub fn crc32c(bytes: &[u8]) -> u32 {
    crc(bytes, 0x82f6_3b78)
}

fn crc(bytes: &[u8], polynomial: u32) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { polynomial } else { 0 })
    })
}
