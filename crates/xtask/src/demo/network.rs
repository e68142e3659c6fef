//! A network for guests that talk to one another: bridges in a namespace of this process, which vanishes with it.

use std::{env, fs, os::unix::process::CommandExt as _, path::Path, process::Command};

use anyhow::{Context, Result};
use testkit::{binary, command::run};

/// Says to a process that it is in the namespace.
const INSIDE: &str = "HOLDFAST_DEMO_NETWORK";

/// Where QEMU's helper reads which bridges VMs may join.
const QEMU_CONFIGURATION: &str = "/etc/qemu";

/// Goes on in a network of its own: the program is begun anew there, with the same arguments. Returns once it is there.
///
/// # Errors
/// When the system lets nobody make one, or has no TUN devices.
pub fn enter(bridges: &[(&str, &str)]) -> Result<()> {
    if !is_entered() {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount"]);
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.arg(env::current_exe()?).args(env::args_os().skip(1));
        // Nothing is built or downloaded in there.
        let error = command.env(INSIDE, "1").env("HOLDFAST_BINARY", binary::holdfast()?).exec();
        return Err(error).context("making a network of its own with unshare");
    }
    ip(&["link", "set", "lo", "up"])?;
    for (name, address) in bridges {
        ip(&["link", "add", name, "type", "bridge"]).context("making a bridge")?;
        ip(&["address", "add", address, "dev", name])?;
        ip(&["link", "set", name, "up"])?;
    }
    let names: String = bridges.iter().map(|(name, _)| format!("allow {name}\n")).collect();
    allow(&names).context("letting VMs join the bridges")
}

/// Whether this process is in the network already.
pub fn is_entered() -> bool {
    env::var_os(INSIDE).is_some()
}

fn ip(words: &[&str]) -> Result<()> {
    run(Command::new("ip").args(words)).map(drop)
}

/// Has programs see these bridges, and puts QEMU's configuration over that of the host, for this namespace alone.
fn allow(rules: &str) -> Result<()> {
    let mount = |words: &[&str]| run(Command::new("mount").args(words)).map(drop);
    // What is mounted shows the devices of the network that it was mounted in.
    mount(&["-t", "sysfs", "sysfs", "/sys"])?;
    // An empty file system of its own takes what is laid over the host's directory; /mnt is its only place that is sure to be there.
    mount(&["-t", "tmpfs", "tmpfs", "/mnt"])?;
    fs::create_dir_all("/mnt/over/qemu")?;
    fs::create_dir("/mnt/work")?;
    fs::write("/mnt/over/qemu/bridge.conf", rules)?;
    mount(&["-t", "overlay", "overlay", "-o", "lowerdir=/etc,upperdir=/mnt/over,workdir=/mnt/work", "/etc"])?;
    anyhow::ensure!(
        Path::new(QEMU_CONFIGURATION).join("bridge.conf").exists(),
        "the bridges are not in {QEMU_CONFIGURATION}"
    );
    Ok(())
}
