//! A small real Linux guest, built out of Debian packages.
//!
//! It boots by itself from its own disk by BIOS, or directly from its kernel. It has a root disk, a data disk, a guest
//! agent with freeze hooks, and a workload whose every record can be checked; `guest/workload` describes it.

pub(crate) mod archives;
mod disk;
mod initramfs;
mod root;
mod scripts;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use model::{ByteCount, DiskBus, DiskDefinition, DiskFormat, Firmware, VmDefinition, VmName};

use crate::{command::run, target::target_directory};

pub use archives::download_with_dependencies;
pub(crate) use disk::ROOT_PARTITION_OFFSET_BYTES;
pub use disk::path_with_system_tools;
pub(crate) use scripts::VERIFY_STATE as STATE_CHECK;

/// The virtual size of the root disk.
pub const ROOT_SIZE: ByteCount = ByteCount(512 << 20);

/// The built guest. Its files are shared by all tests and never written to.
#[derive(Debug, Clone)]
pub struct GuestImage {
    directory: PathBuf,
}

/// One VM's own copies of the guest's disks.
#[derive(Debug, Clone)]
pub struct GuestDisks {
    /// The bootable disk.
    pub root: PathBuf,
    /// The second disk.
    pub data: PathBuf,
    /// The format of both.
    pub format: DiskFormat,
}

impl GuestImage {
    /// The guest from the cache in Cargo's target directory, built first where it is not there.
    ///
    /// Any number of processes may ask at once: one builds, the others wait.
    ///
    /// # Errors
    /// When packages cannot be had from apt, or a tool of [`crate::packages`] is missing.
    pub fn obtain() -> Result<Self> {
        let cache = target_directory()?.join("guest");
        let directory = cache.join(inputs_digest());
        if !directory.exists() {
            fs::create_dir_all(&cache)?;
            let lock = File::create(cache.join("lock"))?;
            lock.lock().context("waiting for another process to build the guest")?;
            if !directory.exists() {
                build(&cache, &directory).context("building the test guest")?;
            }
        }
        Ok(Self { directory })
    }

    /// The kernel, for a boot without firmware; its command line is [`KERNEL_ARGUMENTS`].
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// The initial RAM disk of [`GuestImage::kernel`].
    #[must_use]
    pub fn initrd(&self) -> PathBuf {
        self.directory.join("initrd.img")
    }

    /// Makes new disks for one VM in a directory: `root` and `data`, the data disk with a file system of this size.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn create_disks(
        &self,
        directory: &Path,
        format: DiskFormat,
        data_size: ByteCount,
    ) -> Result<GuestDisks> {
        let extension = if format == DiskFormat::Raw { "img" } else { "qcow2" };
        let path = |name: &str| directory.join(format!("{name}.{extension}"));
        let disks = GuestDisks { root: path("root"), data: path("data"), format };
        convert(&self.directory.join("root.img"), &disks.root, format)?;
        let blank = directory.join("data.blank");
        disk::create_ext4(&blank, "guest-data", data_size, None)?;
        if format == DiskFormat::Raw {
            fs::rename(&blank, &disks.data)?;
        } else {
            convert(&blank, &disks.data, format)?;
            fs::remove_file(&blank)?;
        }
        Ok(disks)
    }
}

impl GuestDisks {
    /// The definition of a VM that boots from these disks; they are called `root` and `data`.
    #[must_use]
    pub fn definition(&self, name: VmName) -> VmDefinition {
        let disk = |name: &str, path: &Path| DiskDefinition {
            name: name.parse().expect("the name is a valid one"),
            path: Some(path.to_owned()),
            format: Some(self.format),
            bus: DiskBus::Virtio,
            serial: Some(name.to_owned()),
            iothread: false,
        };
        VmDefinition {
            name,
            uuid: None,
            cpus: 1,
            memory: ByteCount(256 << 20),
            machine: "q35".to_owned(),
            firmware: Firmware::Bios,
            disks: vec![disk("root", &self.root), disk("data", &self.data)],
            networks: Vec::new(),
            agent: true,
        }
    }
}

/// The kernel's command line for a boot without firmware.
pub const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet net.ifnames=0 panic=1";

fn convert(source: &Path, target: &Path, format: DiskFormat) -> Result<()> {
    run(Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", format.as_str()])
        .arg(source)
        .arg(target))
    .map(drop)
}

/// Names the cache entry after all that goes into it, but for the packages' versions: a cached guest stays good when
/// Debian publishes a security update.
fn inputs_digest() -> String {
    let mut hasher = DefaultHasher::new();
    scripts::ALL.hash(&mut hasher);
    [
        include_str!("guest.rs"),
        include_str!("guest/archives.rs"),
        include_str!("guest/disk.rs"),
        include_str!("guest/initramfs.rs"),
        include_str!("guest/root.rs"),
    ]
    .hash(&mut hasher);
    fs::read("/etc/os-release").unwrap_or_default().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Builds in a directory beside the final one, so that a half-built guest is never taken for a built one.
fn build(cache: &Path, directory: &Path) -> Result<()> {
    let work = tempfile::Builder::new().prefix("building-").tempdir_in(cache)?;
    let path = |name: &str| work.path().join(name);
    let packages = archives::download(&path("archives"))?;
    archives::unpack(&packages.kernel, &path("kernel"))?;
    archives::unpack(&packages.boot_loader, &path("grub"))?;
    archives::unpack(&packages.root, &path("root"))?;

    let result = path("result");
    fs::create_dir(&result)?;
    let busybox = path("root").join("usr/bin/busybox");
    let version =
        initramfs::build(&path("kernel"), &busybox, &path("initramfs"), &result.join("initrd.img"))?;
    fs::copy(path("kernel").join(format!("boot/vmlinuz-{version}")), result.join("vmlinuz"))?;
    root::complete(&path("root"), &result)?;
    disk::create_bootable(&result.join("root.img"), &path("root"), &path("grub"), work.path())?;
    fs::rename(&result, directory)?;
    work.close()?;
    remove_outdated(cache, directory)
}

/// Removes guests that were built from other inputs, and what was half-built by processes that are dead: the lock is ours.
fn remove_outdated(cache: &Path, current: &Path) -> Result<()> {
    for entry in fs::read_dir(cache)? {
        let path = entry?.path();
        if path != current && path.is_dir() {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}
