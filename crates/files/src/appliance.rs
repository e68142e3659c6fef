//! The program inside the helper's machine, and the one that starts that machine.
//!
//! As the first process of the machine it loads drivers, finds the volumes, and answers the host until the host hangs up.
//! Anywhere else it gives QEMU its limits and becomes it. It uses nothing asynchronous and starts no threads.

mod assemble;
mod devices;
mod grow;
mod init;
mod launcher;
mod mounts;
mod partitions;
mod probe;
mod reading;
mod requests;
mod service;
mod volumes;

use std::{ffi::OsString, process::ExitCode};

pub(crate) use launcher::arguments as launch_arguments;

/// The modules that the helper may load, where the kernel has them as modules.
pub(crate) fn modules_wanted() -> impl Iterator<Item = &'static str> {
    init::DRIVERS.into_iter().chain(assemble::modules_wanted()).chain(mounts::modules_wanted())
}

/// The tools that the helper runs, where the host has them: what each is for.
pub(crate) const TOOLS: [(&str, &str); 4] = [
    ("lvm", "logical volumes"),
    ("cryptsetup", "encrypted volumes"),
    ("mdadm", "software RAID"),
    ("ntfs-3g", "NTFS, for kernels that cannot read it"),
];

/// A module's name as the kernel sees it: files call some with hyphens.
pub(crate) fn module_name(name: &str) -> String {
    name.replace('-', "_")
}

/// Where a module or a list of them lies in the initial RAM disk.
pub(crate) const MODULES_DIRECTORY: &str = "/modules";

/// The file there that says what each module needs: a line of `name: name name`.
pub(crate) const MODULES_INDEX: &str = "needs";

/// Runs the helper, with the arguments that follow its subcommand.
#[must_use]
pub fn run(arguments: &[OsString]) -> ExitCode {
    if std::process::id() == 1 { init::run() } else { launcher::run(arguments) }
}
