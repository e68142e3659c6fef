//! Grows the last partition of a disk and the file system in it, by the kernel's own means.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, OwnedFd},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, open},
    ioctl::{NoArg, Setter, ioctl},
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use super::{
    devices::{self, Device},
    init::{Modules, wait_for},
    mounts, partitions,
    probe::{Content, probe},
};
use crate::protocol::{Answer, FailureKind};

/// Where the file system is mounted meanwhile.
const PLACE: &str = "/volumes/grown";

/// Requests to the kernel: re-read the partitions (`linux/fs.h`), and grow a mounted file system (the kernel's `fs/ext4/ext4.h`,
/// `fs/xfs/libxfs/xfs_fs.h` and `linux/btrfs.h`).
const READ_PARTITIONS: u32 = 0x125f;
const EXT4_RESIZE: u32 = 0x4008_6610;
const XFS_GROW: u32 = 0x4010_586e;
const BTRFS_RESIZE: u32 = 0x5000_9403;

/// `struct xfs_growfs_data`.
#[repr(C)]
struct XfsGrowth {
    blocks: u64,
    inodes_max_percent: u32,
    padding: u32,
}

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct BtrfsResize {
    fd: i64,
    words: [u8; 4088],
}

/// Grows the only disk of the machine. Everything is durable when this returns.
pub(super) fn grow(modules: &mut Modules) -> Answer {
    match try_grow(modules) {
        Ok((file_system, size_bytes)) => Answer::Grown { file_system: file_system.to_owned(), size_bytes },
        Err(error) => {
            let kind = match error.kind() {
                io::ErrorKind::Unsupported => FailureKind::Unsupported,
                io::ErrorKind::InvalidData => FailureKind::Damaged,
                _ => FailureKind::Failed,
            };
            Answer::failure(kind, &error.to_string())
        }
    }
}

fn try_grow(modules: &mut Modules) -> io::Result<(&'static str, u64)> {
    let disk = devices::disks(&["disk".to_owned()])?.into_iter().next();
    let disk = disk.ok_or_else(|| io::Error::other("there is no disk"))?;
    let node = File::options().read(true).write(true).open(&disk.node)?;
    let grown = partitions::grow_last(&node, disk.size_bytes)?;
    let device = match grown {
        None => disk,
        Some(number) => {
            // SAFETY: BLKRRPART takes no argument and touches no memory of this process.
            unsafe { ioctl(&node, NoArg::<READ_PARTITIONS>::new()) }?;
            drop(node);
            let suffix = format!("-{number}");
            wait_for(|| {
                disk.clone()
                    .or_partitions()
                    .into_iter()
                    .find(|it| it.name.ends_with(&suffix) && it.node.exists())
            })?
        }
    };
    let file_system = match probe(&device.node, device.size_bytes)? {
        Content::FileSystem(name @ ("ext4" | "xfs")) => name,
        Content::Btrfs { .. } => "btrfs",
        Content::FileSystem(name) | Content::Other(name) => return Err(unsupported(name)),
        Content::Luks => return Err(unsupported("an encrypted volume")),
        Content::PhysicalVolume => return Err(unsupported("a physical volume of LVM")),
        Content::RaidMember => return Err(unsupported("a member of an array")),
        Content::Unknown => return Err(unsupported("nothing that is known")),
    };
    let mounted = Mounted::mount(&device, file_system, modules)?;
    mounted.grow(&device, file_system)?;
    mounted.unmount()?;
    File::open(&device.node)?.sync_all()?;
    rustix::fs::sync();
    Ok((file_system, device.size_bytes))
}

fn unsupported(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("what lies last on the disk is {what}; ext4, XFS and btrfs can be grown"),
    )
}

/// The file system while it is mounted to be written.
struct Mounted {
    place: PathBuf,
    root: OwnedFd,
}

impl Mounted {
    fn mount(device: &Device, file_system: &'static str, modules: &mut Modules) -> io::Result<Self> {
        let place = PathBuf::from(PLACE);
        fs::create_dir_all(&place)?;
        mounts::load_driver(file_system, modules);
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
        mount(&device.node, &place, file_system, flags, None).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the {file_system} cannot be mounted: {error}"),
            )
        })?;
        let root = open(&place, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { place, root })
    }

    fn grow(&self, device: &Device, file_system: &'static str) -> io::Result<()> {
        let node = File::open(&device.node)?;
        let grown = match file_system {
            "ext4" => grow_ext4(&self.root, &node, device.size_bytes),
            "xfs" => grow_xfs(&self.root, &node, device.size_bytes),
            _ => grow_btrfs(&self.root),
        };
        grown.map_err(|error| {
            io::Error::new(error.kind(), format!("the {file_system} does not grow: {error}"))
        })
    }

    fn unmount(self) -> io::Result<()> {
        drop(self.root);
        Ok(unmount(&self.place, UnmountFlags::empty())?)
    }
}

fn grow_ext4(root: impl AsFd, node: &File, size_bytes: u64) -> io::Result<()> {
    // `s_log_block_size` of the superblock at 1024.
    let shift = u32_at(node, 1024 + 24, u32::from_le_bytes)?;
    let block_bytes = 1024_u64.checked_shl(shift).filter(|bytes| *bytes <= 64 << 10);
    let blocks = size_bytes / block_bytes.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the request reads a number of 64 bits, and that is what it gets.
    Ok(unsafe { ioctl(root, Setter::<EXT4_RESIZE, u64>::new(blocks)) }?)
}

fn grow_xfs(root: impl AsFd, node: &File, size_bytes: u64) -> io::Result<()> {
    // `sb_blocksize`, and `sb_imax_pct`, which stays.
    let block_bytes = u64::from(u32_at(node, 4, u32::from_be_bytes)?);
    let mut percent = [0];
    node.read_exact_at(&mut percent, 127)?;
    let blocks = size_bytes.checked_div(block_bytes).ok_or(io::ErrorKind::InvalidData)?;
    let growth = XfsGrowth { blocks, inodes_max_percent: percent[0].into(), padding: 0 };
    // SAFETY: the request reads a `struct xfs_growfs_data`, and that is what it gets.
    match unsafe { ioctl(root, Setter::<XFS_GROW, XfsGrowth>::new(growth)) } {
        // It has that size already.
        Err(rustix::io::Errno::INVAL) if is_xfs_of(node, blocks)? => Ok(()),
        grown => Ok(grown?),
    }
}

fn is_xfs_of(node: &File, blocks: u64) -> io::Result<bool> {
    let mut present = [0; 8];
    node.read_exact_at(&mut present, 8)?;
    Ok(u64::from_be_bytes(present) == blocks)
}

fn grow_btrfs(root: impl AsFd) -> io::Result<()> {
    let mut request = BtrfsResize { fd: 0, words: [0; 4088] };
    request.words[..3].copy_from_slice(b"max");
    // SAFETY: the request reads a `struct btrfs_ioctl_vol_args`, and that is what it gets; its words end with a zero.
    Ok(unsafe { ioctl(root, Setter::<BTRFS_RESIZE, BtrfsResize>::new(request)) }?)
}

fn u32_at(node: &File, offset_bytes: u64, decode: fn([u8; 4]) -> u32) -> io::Result<u32> {
    let mut bytes = [0; 4];
    node.read_exact_at(&mut bytes, offset_bytes)?;
    Ok(decode(bytes))
}
