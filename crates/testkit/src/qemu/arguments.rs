//! The command line of a guest's QEMU.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use model::DiskFormat;
use serde_json::json;

use super::{Boot, VmOptions, virtio};
use crate::guest::{GuestDisks, GuestImage, KERNEL_ARGUMENTS};

pub(super) const QMP: &str = "qmp.sock";
pub(super) const QMP_OUT_OF_BAND: &str = "qmp-oob.sock";
pub(super) const TEST_QMP: &str = "qmp-test.sock";
pub(super) const AGENT: &str = "agent.sock";
pub(super) const TEST_AGENT: &str = "agent-test.sock";
pub(super) const QTEST: &str = "qtest.sock";
/// A firmware whose every instruction halts the processor.
pub(super) const HALT: &str = "halt.bin";

/// The accelerator that really works here, and the CPU model that goes with it.
///
/// Some hosts without the CPU's extensions have a `/dev/kvm` that opens.
#[must_use]
pub fn acceleration() -> (&'static str, &'static str) {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpus.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has_extensions = flags.split(' ').any(|flag| flag == "vmx" || flag == "svm");
    let opens = || File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if has_extensions && opens() { ("kvm", "host") } else { ("tcg", "max") }
}

/// Disks are the devices `root` and `data`.
pub(super) fn for_guest(
    image: &GuestImage,
    disks: &GuestDisks,
    options: &VmOptions,
    sockets: &Path,
) -> Vec<String> {
    let (accelerator, cpu) = acceleration();
    let mut arguments = Vec::new();
    let mut add = |name: &str, value: String| arguments.extend([format!("-{name}"), value]);
    let socket = |name: &str| sockets.join(name).display().to_string();

    add("accel", accelerator.to_owned());
    add("machine", "q35".to_owned());
    add("cpu", cpu.to_owned());
    add("m", format!("{}M", options.memory.0 >> 20));
    add("display", "none".to_owned());
    add("serial", "stdio".to_owned());
    add("nic", "none".to_owned());
    add("device", "virtio-rng-pci".to_owned());
    if options.boot == Boot::Kernel {
        add("kernel", image.kernel().display().to_string());
        add("initrd", image.initrd().display().to_string());
        add("append", KERNEL_ARGUMENTS.to_owned());
    }
    for (index, (name, path)) in [("root", &disks.root), ("data", &disks.data)].into_iter().enumerate() {
        add("blockdev", node(name, disks.format, path));
        let mut device =
            format!("virtio-blk-pci,id={name},drive={name}-format,serial={name},bootindex={}", index + 1);
        if options.iothreads {
            add("object", format!("iothread,id={name}-thread"));
            device.push_str(&format!(",iothread={name}-thread"));
        }
        add("device", device);
    }
    add_monitors(&mut add, sockets);
    add("device", "virtio-serial-pci".to_owned());
    let agents = [(AGENT, 0, options.agent), (TEST_AGENT, 1, true)];
    for (name, number, _) in agents.into_iter().filter(|(.., wanted)| *wanted) {
        add("chardev", format!("socket,id=agent{number},path={},server=on,wait=off", socket(name)));
        add("device", format!("virtserialport,chardev=agent{number},name=org.qemu.guest_agent.{number}"));
    }
    arguments.extend(["-nodefaults", "-no-reboot"].map(str::to_owned));
    arguments.extend(options.extra_arguments.iter().cloned());
    arguments
}

/// Disks are virtio devices of these names.
pub(super) fn without_guest(disks: &[(&str, DiskFormat, PathBuf)], sockets: &Path) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut add = |name: &str, value: String| arguments.extend([format!("-{name}"), value]);
    add("accel", "tcg".to_owned());
    add("machine", "q35".to_owned());
    add("m", "32M".to_owned());
    add("display", "none".to_owned());
    for (name, format, path) in disks {
        add("blockdev", node(name, *format, path));
        add("device", format!("virtio-blk-pci,id={name},drive={name}-format"));
    }
    add_monitors(&mut add, sockets);
    arguments.push("-nodefaults".to_owned());
    arguments
}

/// One disk, a virtio device that is driven from outside: the firmware halts at once, and the memory is a file.
pub(super) fn driven(
    name: &str,
    format: DiskFormat,
    path: &Path,
    memory: &Path,
    sockets: &Path,
) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut add = |name: &str, value: String| arguments.extend([format!("-{name}"), value]);
    add("accel", "tcg".to_owned());
    // Timers of the machine would interrupt for ever, and QEMU tells of each interrupt.
    add("machine", "pc,memory-backend=ram,pit=off,hpet=off".to_owned());
    let memory = memory.display();
    add("object", format!("memory-backend-file,id=ram,size=32M,share=on,mem-path={memory}"));
    add("m", "32M".to_owned());
    add("bios", sockets.join(HALT).display().to_string());
    add("display", "none".to_owned());
    add("blockdev", node(name, format, path));
    let slot = virtio::SLOT;
    add("device", format!("virtio-blk-pci,id={name},drive={name}-format,addr={slot},disable-modern=on"));
    add("qtest", format!("unix:{},server=on,wait=off", sockets.join(QTEST).display()));
    add("qtest-log", "none".to_owned());
    add_monitors(&mut add, sockets);
    arguments.push("-nodefaults".to_owned());
    arguments
}

fn node(disk: &str, format: DiskFormat, path: &Path) -> String {
    json!({
        "driver": format.as_str(),
        "node-name": format!("{disk}-format"),
        "discard": "unmap",
        "file": { "driver": "file", "node-name": format!("{disk}-file"), "filename": path },
    })
    .to_string()
}

fn add_monitors(add: &mut impl FnMut(&str, String), sockets: &Path) {
    for monitor in [QMP, QMP_OUT_OF_BAND, TEST_QMP] {
        add("qmp", format!("unix:{},server=on,wait=off", sockets.join(monitor).display()));
    }
}
