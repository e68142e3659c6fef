//! Files of the distribution's packages, downloaded and unpacked; nothing is installed on this machine.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use testkit::{command, guest::download_with_dependencies};

use crate::bench::progress;

/// Packages that are on no disk: their files stand for the newer versions of files that are.
pub const NEWER: [&str; 2] = ["cmake", "gdb"];

/// What both small VMs hold.
pub const SMALL_CORE: [&str; 19] = [
    "bash",
    "ca-certificates",
    "coreutils",
    "cron",
    "curl",
    "dbus",
    "dpkg",
    "iproute2",
    "less",
    "locales",
    "man-db",
    "openssh-server",
    "perl",
    "python3",
    "rsync",
    "rsyslog",
    "sudo",
    "systemd-sysv",
    "vim",
];
pub const SMALL_FIRST: [&str; 2] = ["git", "nginx-light"];
pub const SMALL_SIBLING: [&str; 4] = ["apache2", "ruby", "sqlite3", "tcl"];

/// What both large VMs hold.
pub const LARGE_CORE: [&str; 20] = [
    "ca-certificates",
    "clang",
    "coreutils",
    "curl",
    "dbus",
    "default-jre-headless",
    "dpkg",
    "g++",
    "gcc",
    "git",
    "iproute2",
    "locales",
    "man-db",
    "openssh-server",
    "perl",
    "python3-numpy",
    "rsync",
    "rsyslog",
    "systemd-sysv",
    "vim",
];
pub const LARGE_FIRST: [&str; 4] = ["libreoffice-writer", "nginx", "postgresql", "python3-scipy"];
pub const LARGE_SIBLING: [&str; 6] =
    ["apache2", "emacs-nox", "mariadb-server", "php-cli", "ruby", "texlive-base"];

/// A file of a package.
#[derive(Debug, Clone)]
pub struct PackageFile {
    /// Where it is on this machine.
    pub source: PathBuf,
    /// Where it belongs.
    pub path: String,
    pub size_bytes: u64,
}

/// The files of packages and of all that they depend on, sorted by package and path.
#[derive(Debug)]
pub struct PackageSet {
    pub files: Vec<PackageFile>,
}

impl PackageSet {
    /// Unpacks packages into a directory. Archives are downloaded once, so that the same machine gives the same files.
    pub fn obtain(packages: &[&str], archives: &Path, directory: &Path) -> Result<Self> {
        if !archives.exists() {
            progress(&format!("downloading {} and more", packages.join(", ")));
            let partial = archives.with_extension("partial");
            fs::create_dir_all(&partial)?;
            download_with_dependencies(packages, &partial)?;
            fs::rename(partial, archives)?;
        }
        let mut set = Walk { files: Vec::new(), paths: HashSet::new(), inodes: HashSet::new() };
        for archive in sorted(archives)? {
            let name = archive.file_stem().context("an archive has no name")?;
            // Each by itself: packages disagree on what is a directory and what a link.
            let tree = directory.join(name.to_string_lossy().replace(['%', '~', '+'], "-"));
            fs::create_dir_all(&tree)?;
            command::run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&tree))?;
            set.add_directory(&tree, "")?;
        }
        Ok(Self { files: set.files })
    }
}

struct Walk {
    files: Vec<PackageFile>,
    /// Some packages bring the same file.
    paths: HashSet<String>,
    /// Hard links would be copies.
    inodes: HashSet<(u64, u64)>,
}

impl Walk {
    fn add_directory(&mut self, directory: &Path, path: &str) -> Result<()> {
        for source in sorted(directory)? {
            let metadata = source.symlink_metadata()?;
            // debugfs takes its commands apart at spaces and quotes.
            let Some(name) = source.file_name().and_then(|name| name.to_str()).filter(|name| is_plain(name))
            else {
                continue;
            };
            let path = format!("{path}/{name}");
            if metadata.is_dir() {
                self.add_directory(&source, &path)?;
            } else if metadata.is_file()
                && metadata.len() > 0
                && self.inodes.insert((metadata.dev(), metadata.ino()))
                && self.paths.insert(path.clone())
            {
                self.files.push(PackageFile { source, path, size_bytes: metadata.len() });
            }
        }
        Ok(())
    }
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'\\<>".contains(&byte))
}

fn sorted(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
