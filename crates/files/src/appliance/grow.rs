//! Grows the last partition of a disk and the file system in it, by the kernel's own means.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, OwnedFd},
    os::unix::fs::FileExt as _,
    path::PathBuf,
};

use rustix::{
    fs::{Mode, OFlags, open},
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use super::{
    devices::{self, Device},
    init::{Modules, wait_for},
    mounts, partitions,
    probe::{Content, probe},
    requests,
};
use crate::protocol::{Answer, FailureKind};

/// Where the file system is mounted meanwhile.
const PLACE: &str = "/volumes/grown";

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
            requests::read_partitions(&node)?;
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
        Content::Btrfs(_) => "btrfs",
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
            _ => requests::grow_btrfs(&self.root),
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
    let block_bytes = 1024_u64.checked_shl(shift).filter(|bytes| (1024..=64 << 10).contains(bytes));
    let block_bytes = block_bytes.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    requests::grow_ext4(root, size_bytes / block_bytes)
}

fn grow_xfs(root: impl AsFd, node: &File, size_bytes: u64) -> io::Result<()> {
    // `sb_blocksize`, `sb_dblocks`, and `sb_imax_pct`, which stays.
    let block_bytes = u64::from(u32_at(node, 4, u32::from_be_bytes)?);
    let (mut present, mut percent) = ([0; 8], [0]);
    node.read_exact_at(&mut present, 8)?;
    node.read_exact_at(&mut percent, 127)?;
    let blocks = size_bytes.checked_div(block_bytes).ok_or(io::ErrorKind::InvalidData)?;
    if u64::from_be_bytes(present) >= blocks {
        return Ok(());
    }
    requests::grow_xfs(root, blocks, percent[0])
}

fn u32_at(node: &File, offset_bytes: u64, decode: fn([u8; 4]) -> u32) -> io::Result<u32> {
    let mut bytes = [0; 4];
    node.read_exact_at(&mut bytes, offset_bytes)?;
    Ok(decode(bytes))
}
