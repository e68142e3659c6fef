//! The distribution's packages that tests need, and their installation.

use std::{os::unix::fs::MetadataExt, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

use crate::command::run;

/// QEMU, the tools that build and check the guest's disks, and other people's clients of what we serve.
const NEEDED: [&str; 12] = [
    "btrfs-progs",
    "cpio",
    "e2fsprogs",
    "libnbd-bin",
    "openssl",
    "ovmf",
    "perl-base",
    "python3",
    "qemu-system-x86",
    "qemu-utils",
    "sqlite3",
    "xfsprogs",
];

/// Packages of one source that must have one version.
const OF_ONE_VERSION: [&str; 2] = ["qemu-system-x86", "qemu-utils"];

/// The packages that are needed and not installed.
///
/// # Errors
/// On a distribution without apt, with the list of what to install by hand.
pub fn missing() -> Result<Vec<&'static str>> {
    ensure!(
        Path::new("/usr/bin/apt-get").exists(),
        "this is neither Debian nor Ubuntu: install what they call {}, then run this again",
        NEEDED.join(", ")
    );
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${Package} ${db:Status-Status}\n"]).args(NEEDED);
    // Fails when it knows nothing of a package, and still lists the others.
    let output = query.output().context("running dpkg-query")?;
    let listing = String::from_utf8_lossy(&output.stdout);
    let installed = |package: &str| listing.lines().any(|line| line == format!("{package} installed"));
    Ok(NEEDED.into_iter().filter(|package| !installed(package)).collect())
}

/// Installs what is missing in one call of apt, with sudo where this is not root; does nothing where all is there.
///
/// # Errors
/// As [`missing`], and when apt fails.
pub fn install_missing() -> Result<()> {
    let missing = missing()?;
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("installing {}", missing.join(", "));
    with_fresh_lists(|| {
        let names = missing.iter().map(|&package| package.to_owned()).collect();
        install(names).or_else(|error| match in_one_version(&missing)? {
            Some(matched) => install(matched),
            None => Err(error),
        })
    })
}

/// Tries something that asks apt; if it fails, updates apt's lists, which may be empty or old, and tries once more.
pub(crate) fn with_fresh_lists<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    attempt().or_else(|error| {
        eprintln!("updating the package lists, because: {error}");
        apt_get_as_root(&["update".to_owned()])?;
        attempt()
    })
}

/// Installs packages, but only once apt has found out that it can.
fn install(packages: Vec<String>) -> Result<()> {
    let options = ["install", "-y", "-q", "--no-install-recommends", "--allow-downgrades"].map(str::to_owned);
    let arguments: Vec<String> = options.into_iter().chain(packages).collect();
    run(Command::new("apt-get").arg("--simulate").args(&arguments))?;
    apt_get_as_root(&arguments)
}

/// The packages with all of QEMU in the distribution's version. Where one package of QEMU is newer than that, from a
/// backport or a vendor, the others conflict with it. None where QEMU is not missing.
fn in_one_version(missing: &[&str]) -> Result<Option<Vec<String>>> {
    let (qemu, others): (Vec<&str>, Vec<&str>) =
        missing.iter().partition(|package| OF_ONE_VERSION.contains(package));
    let Some(version) = candidate(OF_ONE_VERSION[0])?.filter(|_| !qemu.is_empty()) else { return Ok(None) };
    let pinned = OF_ONE_VERSION.map(|package| format!("{package}={version}"));
    Ok(Some(others.into_iter().map(str::to_owned).chain(pinned).collect()))
}

/// The version of a package that apt would install; none where it knows of none.
fn candidate(package: &str) -> Result<Option<String>> {
    let policy = run(Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C"))?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    Ok(version.filter(|&version| version != "(none)").map(str::to_owned))
}

fn apt_get_as_root(arguments: &[String]) -> Result<()> {
    let is_root = std::fs::metadata("/proc/self")?.uid() == 0;
    let mut command = if is_root { Command::new("env") } else { Command::new("sudo") };
    // Standard output is kept for results.
    let status = command
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
        .args(arguments)
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("running {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
