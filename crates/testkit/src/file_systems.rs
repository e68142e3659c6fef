//! File systems for tests: the distribution's kernel and tools, unpacked into Cargo's target directory and not installed.

mod workshop;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    command::run,
    guest::archives::{KERNEL_PACKAGES, fetch, resolve, unpack},
    packages::with_fresh_lists,
    target::target_directory,
};

/// What makes file systems, and what opens containers of them.
const TOOL_PACKAGES: [&str; 12] = [
    "btrfs-progs",
    "busybox-static",
    "cryptsetup-bin",
    "dosfstools",
    "exfatprogs",
    "fdisk",
    "lvm2",
    "mdadm",
    "mtools",
    "ntfs-3g",
    "thin-provisioning-tools",
    "xfsprogs",
];

/// The host's own: a C library of another build does not get along with the host's loader.
const NOT_UNPACKED: [&str; 4] = ["gcc-", "libc6", "libgcc", "libcrypt1"];

/// Names the installation. A new one for any change here.
const VERSION: &str = "3";

/// A kernel with its modules, and tools.
#[derive(Debug, Clone)]
pub struct FileSystemTools {
    directory: PathBuf,
}

impl FileSystemTools {
    /// The environment in which a server reads files with this kernel and these tools.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        let named = [
            ("HOLDFAST_KERNEL", self.kernel()),
            ("HOLDFAST_MODULES", self.modules()),
            ("HOLDFAST_TOOLS_ROOT", self.root()),
        ];
        named.map(|(name, path)| (name.to_owned(), path.display().to_string())).into()
    }

    /// The kernel and tools from the cache in Cargo's target directory, unpacked first where they are not there.
    ///
    /// # Errors
    /// When packages cannot be had from apt.
    pub fn obtain() -> Result<Self> {
        let cache = target_directory()?.join("file-systems");
        let directory = cache.join(VERSION);
        if !directory.exists() {
            fs::create_dir_all(&cache)?;
            let lock = File::create(cache.join("lock"))?;
            lock.lock().context("waiting for another process to unpack the same")?;
            if !directory.exists() {
                let work = tempfile::Builder::new().prefix("building-").tempdir_in(&cache)?;
                install(work.path()).context("unpacking the tools of file systems")?;
                fs::rename(work.keep(), &directory)?;
            }
        }
        Ok(Self { directory })
    }

    /// The root of the tools and their libraries.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// The directory of the kernel's modules.
    #[must_use]
    pub fn modules(&self) -> PathBuf {
        self.directory.join("modules")
    }

    /// A tool of these packages, or of the host.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let root = self.root();
        let directories = |below: &[&str]| {
            below.iter().map(|below| root.join(below).display().to_string()).collect::<Vec<_>>().join(":")
        };
        let mut command = Command::new(name);
        let path = directories(&["usr/sbin", "usr/bin"]);
        command.env("PATH", format!("{path}:{}", crate::guest::path_with_system_tools()));
        command.env("LD_LIBRARY_PATH", directories(&["usr/lib/x86_64-linux-gnu", "usr/lib"]));
        command
    }
}

fn install(directory: &Path) -> Result<()> {
    let kernel = KERNEL_PACKAGES.iter().find_map(|package| resolve(&[package]).ok());
    let kernel: Vec<_> = match kernel {
        Some(packages) => packages,
        None => with_fresh_lists(|| resolve(&KERNEL_PACKAGES[..1]))?,
    }
    .into_iter()
    .filter(|name| name.starts_with("linux-image-") || name.starts_with("linux-modules-"))
    .collect();
    let mut tools = with_fresh_lists(|| resolve(&TOOL_PACKAGES))?;
    tools.retain(|name| !NOT_UNPACKED.iter().any(|start| name.starts_with(start)));

    let path = |name: &str| directory.join(name);
    unpack(&with_fresh_lists(|| fetch(&kernel, &path("archives")))?, &path("kernel"))?;
    unpack(&with_fresh_lists(|| fetch(&tools, &path("archives")))?, &path("root"))?;
    fs::remove_dir_all(path("archives"))?;

    let modules = path("kernel").join("usr/lib/modules");
    let version = fs::read_dir(&modules)?.next().context("the kernel package has no modules")??.file_name();
    let version = version.to_string_lossy().into_owned();
    let busybox = path("root").join("usr/bin/busybox");
    run(Command::new(&busybox).arg("depmod").arg("-b").arg(path("kernel")).arg(&version))?;
    fs::rename(modules.join(&version), path("modules"))?;
    fs::rename(path("kernel").join(format!("boot/vmlinuz-{version}")), path("vmlinuz"))?;
    fs::remove_dir_all(path("kernel"))?;
    Ok(())
}
