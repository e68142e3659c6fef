//! The first process of the machine.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    mount::{MountFlags, mount},
    system::{RebootCommand, finit_module, reboot},
};

use super::{MODULES_DIRECTORY, MODULES_INDEX, module_name, service};
use crate::protocol::PORT_NAME;

/// Drivers of the machine's devices. A kernel that has one built in has no module of that name.
pub(super) const DRIVERS: [&str; 4] = ["virtio_pci", "virtio_console", "virtio_blk", "virtio_rng"];

/// `MODULE_INIT_COMPRESSED_FILE` of the kernel's `include/uapi/linux/module.h`.
const COMPRESSED_MODULE: i32 = 4;

/// How long a device may take to appear: long, on a host that has much else to do. The host has its own limit for all of it.
const DEVICE_TIMEOUT: Duration = Duration::from_secs(120);

/// How often it is looked for: nobody tells when there is no udev.
const DEVICE_INTERVAL: Duration = Duration::from_millis(5);

/// Serves the host, then switches the machine off.
pub(super) fn run() -> ExitCode {
    if let Err(error) = serve() {
        eprintln!("the helper ends: {error}");
    }
    rustix::fs::sync();
    let error = reboot(RebootCommand::PowerOff);
    eprintln!("the machine stays on: {error:?}");
    ExitCode::FAILURE
}

fn serve() -> io::Result<()> {
    for (kind, place) in
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run"), ("tmpfs", "/tmp")]
    {
        match mount(kind, place, kind, MountFlags::empty(), None) {
            // The kernel may have mounted it itself.
            Ok(()) | Err(rustix::io::Errno::BUSY) => {}
            Err(error) => return Err(io::Error::other(format!("{place}: {error}"))),
        }
    }
    let mut modules = Modules::read();
    for driver in DRIVERS {
        modules.load(driver);
    }
    let path = wait_for(port)?;
    let port = File::options().read(true).write(true).open(path)?;
    service::run(port, &mut modules)
}

/// The serial port to the host.
fn port() -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    let mut names = ports.flatten().map(|port| port.file_name());
    names.find_map(|name| {
        let called =
            fs::read_to_string(Path::new("/sys/class/virtio-ports").join(&name).join("name")).ok()?;
        let path = Path::new("/dev").join(name);
        (called.trim() == PORT_NAME && path.exists()).then_some(path)
    })
}

/// Waits for a device.
pub(super) fn wait_for<T>(look: impl Fn() -> Option<T>) -> io::Result<T> {
    let deadline = Instant::now() + DEVICE_TIMEOUT;
    loop {
        match look() {
            Some(found) => return Ok(found),
            None if Instant::now() > deadline => return Err(io::ErrorKind::TimedOut.into()),
            None => thread::sleep(DEVICE_INTERVAL),
        }
    }
}

/// The kernel's modules that came along.
pub(super) struct Modules {
    needs: BTreeMap<String, Vec<String>>,
    tried: BTreeSet<String>,
}

impl Modules {
    fn read() -> Self {
        let index = fs::read_to_string(Path::new(MODULES_DIRECTORY).join(MODULES_INDEX)).unwrap_or_default();
        let needs = index.lines().filter_map(|line| line.split_once(':'));
        let needs = needs
            .map(|(name, needs)| (name.to_owned(), needs.split_whitespace().map(str::to_owned).collect()));
        Self { needs: needs.collect(), tried: BTreeSet::new() }
    }

    /// Loads a module and what it needs, where it is one and was not loaded before. One that fails shows by what then does
    /// not work.
    pub(super) fn load(&mut self, name: &str) {
        let name = module_name(name);
        if !self.tried.insert(name.clone()) {
            return;
        }
        for need in self.needs.get(&name).cloned().unwrap_or_default() {
            self.load(&need);
        }
        for (extension, flags) in [("ko", 0), ("ko.xz", COMPRESSED_MODULE), ("ko.gz", COMPRESSED_MODULE)] {
            let Ok(file) = File::open(format!("{MODULES_DIRECTORY}/{name}.{extension}")) else { continue };
            match finit_module(file, c"", flags) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => eprintln!("the module {name} cannot be loaded: {error}"),
            }
        }
    }
}
