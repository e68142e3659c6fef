//! What the kernel is asked to do with disks and mounted file systems: the few requests for which there is no safe function.

#![expect(unsafe_code, reason = "each request says how large its argument is, and gets one of that layout")]

use std::{fs::File, io, os::fd::AsFd};

use rustix::ioctl::{NoArg, Setter, ioctl};

/// `BLKRRPART` of `linux/fs.h`.
const READ_PARTITIONS: u32 = 0x125f;

/// `EXT4_IOC_RESIZE_FS` of the kernel's `fs/ext4/ext4.h`.
const EXT4_RESIZE: u32 = 0x4008_6610;

/// `XFS_IOC_FSGROWFSDATA` of the kernel's `fs/xfs/libxfs/xfs_fs.h`.
const XFS_GROW: u32 = 0x4010_586e;

/// `BTRFS_IOC_RESIZE` of `linux/btrfs.h`.
const BTRFS_RESIZE: u32 = 0x5000_9403;

/// `BTRFS_IOC_FORGET_DEV` of `linux/btrfs.h`, and the node that takes it.
const BTRFS_FORGET: u32 = 0x5000_9405;
const BTRFS_CONTROL: &str = "/dev/btrfs-control";

/// `struct xfs_growfs_data`.
#[repr(C)]
struct XfsGrowth {
    blocks: u64,
    inodes_max_percent: u32,
    padding: u32,
}

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct BtrfsArguments {
    fd: i64,
    words: [u8; 4088],
}

/// Reads a disk's partitions anew.
pub(super) fn read_partitions(disk: impl AsFd) -> io::Result<()> {
    // SAFETY: the request takes no argument and touches no memory of this process.
    Ok(unsafe { ioctl(disk, NoArg::<READ_PARTITIONS>::new()) }?)
}

/// Grows a mounted ext4 to so many blocks.
pub(super) fn grow_ext4(root: impl AsFd, blocks: u64) -> io::Result<()> {
    // SAFETY: the request reads a number of 64 bits, and that is what it gets.
    Ok(unsafe { ioctl(root, Setter::<EXT4_RESIZE, u64>::new(blocks)) }?)
}

/// Grows a mounted XFS to so many blocks.
pub(super) fn grow_xfs(root: impl AsFd, blocks: u64, inodes_max_percent: u8) -> io::Result<()> {
    let growth = XfsGrowth { blocks, inodes_max_percent: inodes_max_percent.into(), padding: 0 };
    // SAFETY: the request reads a `struct xfs_growfs_data`, and that is what it gets.
    Ok(unsafe { ioctl(root, Setter::<XFS_GROW, XfsGrowth>::new(growth)) }?)
}

/// Grows a mounted btrfs to the size of its first device.
pub(super) fn grow_btrfs(root: impl AsFd) -> io::Result<()> {
    let mut request = BtrfsArguments { fd: 0, words: [0; 4088] };
    request.words[..3].copy_from_slice(b"max");
    // SAFETY: the request reads a `struct btrfs_ioctl_vol_args`, and that is what it gets; its words end with a zero.
    Ok(unsafe { ioctl(root, Setter::<BTRFS_RESIZE, BtrfsArguments>::new(request)) }?)
}

/// Makes the kernel forget all devices of btrfs that are not mounted.
pub(super) fn forget_btrfs() -> io::Result<()> {
    let control = match File::options().read(true).write(true).open(BTRFS_CONTROL) {
        // Without its driver the kernel has seen none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        control => control?,
    };
    // A name would stand for one device.
    let request = BtrfsArguments { fd: 0, words: [0; 4088] };
    // SAFETY: the request reads a `struct btrfs_ioctl_vol_args`, and that is what it gets; its name is empty.
    Ok(unsafe { ioctl(control, Setter::<BTRFS_FORGET, BtrfsArguments>::new(request)) }?)
}
