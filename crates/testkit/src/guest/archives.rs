//! Debian packages: chosen by apt as for an empty machine, downloaded, unpacked; nothing is installed on the host.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{command::run, packages::with_fresh_lists};

/// What the root file system is made of; apt adds what these depend on. The last one stands for a package that would
/// turn a real machine's file system around and drag all of Perl in.
const ROOT_PACKAGES: [&str; 6] =
    ["busybox-static", "e2fsprogs", "perl-base", "qemu-guest-agent", "sqlite3", "usr-is-merged"];

/// Never installed on the host, where they would meddle with its boot loader.
const BOOT_LOADER_PACKAGES: [&str; 2] = ["grub-common", "grub-pc-bin"];

/// Debian's kernel for virtual machines, and Ubuntu's.
pub(crate) const KERNEL_PACKAGES: [&str; 2] = ["linux-image-cloud-amd64", "linux-image-virtual"];

/// The archives' files, by what they are for.
pub(super) struct Archives {
    pub(super) kernel: Vec<PathBuf>,
    pub(super) boot_loader: Vec<PathBuf>,
    pub(super) root: Vec<PathBuf>,
}

/// Downloads all that the guest needs into a new directory.
pub(super) fn download(directory: &Path) -> Result<Archives> {
    with_fresh_lists(|| download_once(directory))
}

/// Downloads the archives of packages and of all that they depend on into a new directory.
///
/// # Errors
/// When apt does not know a package or cannot download it.
pub fn download_with_dependencies(packages: &[&str], directory: &Path) -> Result<Vec<PathBuf>> {
    with_fresh_lists(|| fetch(&resolve(packages)?, directory))
}

fn download_once(directory: &Path) -> Result<Archives> {
    let mut root = resolve(&ROOT_PACKAGES)?;
    root.retain(|name| name != "dpkg" && name != "tar");
    let kernel = KERNEL_PACKAGES
        .iter()
        .find_map(|package| resolve(&[package]).ok())
        .context("apt knows no kernel for virtual machines")?;
    let kernel: Vec<_> = kernel
        .into_iter()
        .filter(|name| name.starts_with("linux-image-") || name.starts_with("linux-modules-"))
        .collect();
    Ok(Archives {
        kernel: fetch(&kernel, &directory.join("kernel"))?,
        boot_loader: fetch(&BOOT_LOADER_PACKAGES.map(str::to_owned), &directory.join("boot-loader"))?,
        root: fetch(&root, &directory.join("root"))?,
    })
}

/// Unpacks archives over one another, without documentation, into a directory whose `/bin` is a link to `/usr/bin`.
pub(crate) fn unpack(archives: &[PathBuf], directory: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(directory.join("usr").join(name))?;
        std::os::unix::fs::symlink(format!("usr/{name}"), directory.join(name))?;
    }
    for archive in archives {
        let mut content =
            Command::new("dpkg-deb").arg("--fsys-tarfile").arg(archive).stdout(Stdio::piped()).spawn()?;
        let stream = content.stdout.take().context("dpkg-deb has no output")?;
        run(Command::new("tar")
            .args(["-x", "--keep-directory-symlink", "--no-same-owner", "-C"])
            .arg(directory)
            .args(
                ["doc", "info", "lintian", "locale", "man"]
                    .map(|name| format!("--exclude=./usr/share/{name}")),
            )
            .args(["--exclude=./usr/lib/*/gconv", "--exclude=./usr/lib/*/perl-base/unicore"])
            .stdin(stream))?;
        ensure!(content.wait()?.success(), "{} cannot be unpacked", archive.display());
    }
    Ok(())
}

/// The packages that apt would install on a machine that has none.
pub(crate) fn resolve(packages: &[&str]) -> Result<Vec<String>> {
    let plan = run(apt_get_for_empty_machine()
        .args(["--simulate", "--no-install-recommends", "install"])
        .args(packages))?;
    Ok(plan
        .lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next())
        .map(str::to_owned)
        .collect())
}

pub(crate) fn fetch(packages: &[String], directory: &Path) -> Result<Vec<PathBuf>> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    run(apt_get_for_empty_machine().arg("download").args(packages).current_dir(directory))?;
    let files = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    if files.len() != packages.len() {
        bail!("apt downloaded {} of {} packages", files.len(), packages.len());
    }
    Ok(files)
}

fn apt_get_for_empty_machine() -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["-qq", "-y", "-o", "Debug::NoLocking=1", "-o", "Dir::State::status=/dev/null"])
        .env("LC_ALL", "C");
    command
}
