//! Mounts a volume, read-only. Its journal is replayed: onto an overlay, which is all that the machine can write to.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::{
    fs::{Mode, OFlags, open},
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use super::{init::Modules, volumes::Located};
use crate::protocol::{Answer, FailureKind};

/// Where volumes are mounted, by their numbers.
const DIRECTORY: &str = "/volumes";

/// FUSE's driver of NTFS, for kernels without one.
const NTFS_3G: &str = "/bin/ntfs-3g";

/// What the driver of a file system is called, the modules that it asks a modprobe for, and its options.
struct Driver {
    name: &'static str,
    modules: &'static [&'static str],
    options: &'static str,
}

/// The drivers for each file system, the first choice first.
const DRIVERS: [(&str, Driver); 10] = [
    ("ext4", Driver { name: "ext4", modules: &["crc32c_generic", "ext4"], options: "" }),
    // Another volume may be a copy of this one, with the same id.
    ("xfs", Driver { name: "xfs", modules: &["crc32c_generic", "xfs"], options: "nouuid" }),
    // All subvolumes, not only the one that is shown by default.
    (
        "btrfs",
        Driver {
            name: "btrfs",
            modules: &["crc32c_generic", "xxhash_generic", "sha256_generic", "blake2b_generic", "btrfs"],
            options: "subvolid=5",
        },
    ),
    ("ntfs", Driver { name: "ntfs3", modules: &["nls_utf8", "ntfs3"], options: "iocharset=utf8" }),
    (
        "vfat",
        Driver {
            name: "vfat",
            modules: &["nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8", "vfat"],
            options: "utf8=1",
        },
    ),
    ("exfat", Driver { name: "exfat", modules: &["nls_utf8", "exfat"], options: "iocharset=utf8" }),
    ("iso9660", Driver { name: "iso9660", modules: &["nls_utf8", "isofs"], options: "utf8" }),
    ("squashfs", Driver { name: "squashfs", modules: &["squashfs"], options: "" }),
    ("f2fs", Driver { name: "f2fs", modules: &["crc32_generic", "f2fs"], options: "" }),
    ("hfsplus", Driver { name: "hfsplus", modules: &["nls_utf8", "hfsplus"], options: "" }),
];

/// The module for what ntfs-3g mounts.
const FUSE_MODULE: &str = "fuse";

/// The modules that any mount needs.
pub(super) fn modules_wanted() -> impl Iterator<Item = &'static str> {
    DRIVERS.iter().flat_map(|(_, driver)| driver.modules.iter().copied()).chain([FUSE_MODULE])
}

/// Loads what the kernel needs for a file system that its own driver of that name mounts.
pub(super) fn load_driver(file_system: &str, modules: &mut Modules) {
    let drivers = DRIVERS.iter().filter(|(name, _)| *name == file_system);
    drivers.flat_map(|(_, driver)| driver.modules).for_each(|module| modules.load(module));
}

/// Where a volume is mounted.
fn place_of(number: u32) -> PathBuf {
    Path::new(DIRECTORY).join(number.to_string())
}

/// Unmounts a volume. Its root is closed already.
pub(super) fn unmount_volume(number: u32) -> io::Result<()> {
    Ok(unmount(place_of(number), UnmountFlags::empty())?)
}

/// Mounts a volume and opens its root.
pub(super) fn mount_volume(number: u32, located: &Located, modules: &mut Modules) -> Result<OwnedFd, Answer> {
    let place = place_of(number);
    let failed = |error: io::Error| Answer::failure(FailureKind::Failed, &error.to_string());
    fs::create_dir_all(&place).map_err(failed)?;
    let mut reason = format!("the kernel has no driver for {}", located.volume.content);
    let mut kind = FailureKind::Unsupported;
    for (_, driver) in DRIVERS.iter().filter(|(file_system, _)| *file_system == located.file_system) {
        match mount_with(driver, located, &place, modules) {
            Ok(()) => return open_root(&place).map_err(failed),
            Err(rustix::io::Errno::NODEV) => {}
            Err(error) => {
                reason = format!(
                    "the {} on {} cannot be mounted: {error}",
                    located.volume.content, located.volume.name
                );
                kind = FailureKind::Damaged;
            }
        }
    }
    if located.file_system == "ntfs" && kind == FailureKind::Unsupported {
        mount_with_ntfs_3g(located, &place, modules)?;
        return open_root(&place).map_err(failed);
    }
    Err(Answer::failure(kind, &reason))
}

fn mount_with(
    driver: &Driver,
    located: &Located,
    place: &Path,
    modules: &mut Modules,
) -> rustix::io::Result<()> {
    driver.modules.iter().for_each(|module| modules.load(module));
    let node = located.nodes.first().ok_or(rustix::io::Errno::NODEV)?;
    let others = located.nodes.get(1..).unwrap_or_default().iter();
    let options = [driver.options.to_owned()]
        .into_iter()
        .chain(others.map(|node| format!("device={}", node.display())));
    let options = options.filter(|option| !option.is_empty()).collect::<Vec<_>>().join(",");
    let options = std::ffi::CString::new(options).unwrap_or_default();
    let flags = MountFlags::RDONLY
        | MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC
        | MountFlags::NOATIME;
    mount(node, place, driver.name, flags, options.as_c_str())
}

fn mount_with_ntfs_3g(located: &Located, place: &Path, modules: &mut Modules) -> Result<(), Answer> {
    if !Path::new(NTFS_3G).exists() {
        let reason = "the kernel has no driver for NTFS, and ntfs-3g is not installed on the host";
        return Err(Answer::failure(FailureKind::Unsupported, reason));
    }
    modules.load(FUSE_MODULE);
    let node = located.nodes.first().cloned().unwrap_or_else(PathBuf::new);
    let options = "ro,noexec,nodev,nosuid,streams_interface=xattr,umask=022";
    // What it says goes to the console.
    let status = Command::new(NTFS_3G).arg(&node).arg(place).args(["-o", options]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => {
            let reason = format!("the NTFS on {} cannot be mounted", located.volume.name);
            Err(Answer::failure(FailureKind::Damaged, &reason))
        }
    }
}

fn open_root(place: &Path) -> io::Result<OwnedFd> {
    Ok(open(place, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}
