//! What a device holds, by the magic numbers of its formats.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

/// What a device holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A file system that the kernel may know, in the kernel's words.
    FileSystem(&'static str),
    /// One device of a btrfs, which may have several.
    Btrfs(BtrfsDevice),
    /// An encrypted volume.
    Luks,
    /// A physical volume of LVM.
    PhysicalVolume,
    /// A member of a Linux software RAID.
    RaidMember,
    /// Something that holds no files, or none that anything here reads.
    Other(&'static str),
    /// Nothing that is known.
    Unknown,
}

/// What a device says of the btrfs that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BtrfsDevice {
    /// The id of the file system.
    pub(super) id: [u8; 16],
    /// The device's number in it.
    pub(super) number: u64,
    /// Which state of the file system was written to it last.
    pub(super) generation: u64,
}

/// A magic number: where it is, what it is, and what it means.
struct Magic(u64, &'static [u8], Content);

/// Containers first: what they hold may start with a file system's magic number. Offsets after libblkid's probes.
const MAGICS: [Magic; 22] = [
    Magic(0, b"LUKS\xba\xbe", Content::Luks),
    Magic(512, b"LABELONE", Content::PhysicalVolume),
    Magic(0, b"LABELONE", Content::PhysicalVolume),
    Magic(1024, b"LABELONE", Content::PhysicalVolume),
    Magic(1536, b"LABELONE", Content::PhysicalVolume),
    Magic(4096, b"\xfc\x4e\x2b\xa9", Content::RaidMember),
    Magic(0, b"\xfc\x4e\x2b\xa9", Content::RaidMember),
    Magic(3, b"-FVE-FS-", Content::Other("BitLocker")),
    Magic(3, b"ReFS\0", Content::Other("ReFS")),
    Magic(4086, b"SWAPSPACE2", Content::Other("swap")),
    Magic(0, b"XFSB", Content::FileSystem("xfs")),
    Magic(3, b"NTFS    ", Content::FileSystem("ntfs")),
    Magic(3, b"EXFAT   ", Content::FileSystem("exfat")),
    Magic(0, b"hsqs", Content::FileSystem("squashfs")),
    Magic(1024, b"\x10\x20\xf5\xf2", Content::FileSystem("f2fs")),
    Magic(1024, b"H+\0\x04", Content::FileSystem("hfsplus")),
    Magic(1024, b"HX\0\x05", Content::FileSystem("hfsplus")),
    Magic(32, b"NXSB", Content::Other("apfs")),
    Magic(32769, b"CD001", Content::FileSystem("iso9660")),
    Magic(82, b"FAT32   ", Content::FileSystem("vfat")),
    Magic(54, b"FAT16   ", Content::FileSystem("vfat")),
    Magic(54, b"FAT12   ", Content::FileSystem("vfat")),
];

/// The ext family's magic number, in its superblock at 1024, after the kernel's `fs/ext4/ext4.h`.
const EXT: (u64, &[u8]) = (1024 + 56, b"\x53\xef");

/// Btrfs's first superblock and the magic number in it (`struct btrfs_super_block` of the kernel's
/// `include/uapi/linux/btrfs_tree.h`).
const BTRFS: (u64, &[u8]) = (BTRFS_SUPERBLOCK + 0x40, b"_BHRfS_M");
const BTRFS_SUPERBLOCK: u64 = 0x1_0000;

/// In the superblock: the id of the file system, its generation, and the number of the device.
const BTRFS_ID: usize = 0x20;
const BTRFS_GENERATION: usize = 0x48;
const BTRFS_DEVICE: usize = 0xc9;

/// Version 0.90 of RAID's superblock lies in the last 64 KiB that are aligned so; version 1.0 8 KiB before the end
/// (the kernel's `drivers/md/md.c`).
const RAID_MAGIC: &[u8] = b"\xfc\x4e\x2b\xa9";
const RAID_RESERVED_BYTES: u64 = 64 << 10;

/// Looks at a device of this size.
pub(super) fn probe(node: &Path, size_bytes: u64) -> io::Result<Content> {
    let device = File::open(node)?;
    let is_at = |offset_bytes: u64, magic: &[u8]| {
        let mut found = vec![0; magic.len()];
        device.read_exact_at(&mut found, offset_bytes).is_ok() && found == magic
    };
    let raid_ends = [
        (size_bytes & !(RAID_RESERVED_BYTES - 1)).checked_sub(RAID_RESERVED_BYTES),
        size_bytes.checked_sub(8 << 10).map(|offset| offset & !4095),
    ];
    if let Some(Magic(_, _, content)) = MAGICS[..9].iter().find(|Magic(at, magic, _)| is_at(*at, magic)) {
        return Ok(content.clone());
    }
    if raid_ends.into_iter().flatten().any(|offset_bytes| is_at(offset_bytes, RAID_MAGIC)) {
        return Ok(Content::RaidMember);
    }
    if is_at(BTRFS.0, BTRFS.1) {
        let mut superblock = [0; BTRFS_DEVICE + 8];
        device.read_exact_at(&mut superblock, BTRFS_SUPERBLOCK)?;
        return Ok(Content::Btrfs(btrfs_device(&superblock)));
    }
    if is_at(EXT.0, EXT.1) {
        return Ok(Content::FileSystem("ext4"));
    }
    let found = MAGICS[9..].iter().find(|Magic(at, magic, _)| is_at(*at, magic));
    Ok(found.map_or(Content::Unknown, |Magic(_, _, content)| content.clone()))
}

fn btrfs_device(superblock: &[u8; BTRFS_DEVICE + 8]) -> BtrfsDevice {
    let number = |offset| u64::from_le_bytes(std::array::from_fn(|index| superblock[offset + index]));
    BtrfsDevice {
        id: std::array::from_fn(|index| superblock[BTRFS_ID + index]),
        number: number(BTRFS_DEVICE),
        generation: number(BTRFS_GENERATION),
    }
}

#[cfg(test)]
mod tests;
