//! The machine as QEMU's command line.

use std::{ffi::OsString, fs, path::Path};

use serde_json::json;

use crate::protocol::PORT_NAME;

/// The translator's cache in MiB: QEMU would take a quarter of the host's memory.
const TRANSLATOR_CACHE_MIB: u32 = 64;

/// What the kernel is told. A panic ends the machine, and so does an oops: whoever waits for a thread that died would wait long.
/// On a busy host an emulated timer fails the check of it.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 loglevel=3 panic=-1 oops=panic no_timer_check random.trust_cpu=on mitigations=off -- file-helper";

/// What decides a command line.
pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initrd: &'a Path,
    pub(super) memory_bytes: u64,
    pub(super) disks: Disks<'a>,
    /// The socket that the helper's serial port is connected to.
    pub(super) port: &'a Path,
}

/// What the machine has for disks, with the serials `d0`, `d1` and so on.
pub(super) enum Disks<'a> {
    /// So many exports of those names at a socket, which are only read.
    Read { count: usize, socket: &'a Path },
    /// One qcow2 file, which is written.
    Written(&'a Path),
}

/// The command line, without the program's name.
pub(super) fn build(machine: &Machine<'_>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut option = |name: &str, value: OsString| arguments.extend([name.into(), value]);
    option("-nodefaults", "-no-user-config".into());
    option("-no-reboot", "-nographic".into());
    option("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".into());
    option("-machine", "type=q35,usb=off,smbus=off,sata=off,vmport=off".into());
    let (accelerator, cpu) = accelerator();
    option("-accel", accelerator.into());
    option("-cpu", cpu.into());
    option("-m", format!("size={}k", machine.memory_bytes / 1024).into());
    option("-kernel", machine.kernel.into());
    option("-initrd", machine.initrd.into());
    option("-append", KERNEL_ARGUMENTS.into());
    option("-chardev", "stdio,id=console,signal=off".into());
    option("-serial", "chardev:console".into());
    option("-device", json!({"driver": "virtio-rng-pci"}).to_string().into());
    option("-device", json!({"driver": "virtio-serial-pci", "id": "ports"}).to_string().into());
    option("-chardev", joined("socket,id=port,path=", machine.port, ""));
    let port = json!({"driver": "virtserialport", "chardev": "port", "name": PORT_NAME});
    option("-device", port.to_string().into());
    for (index, drive) in drives(&machine.disks).into_iter().enumerate() {
        option("-drive", drive);
        let disk =
            json!({"driver": "virtio-blk-pci", "drive": format!("d{index}"), "serial": format!("d{index}")});
        option("-device", disk.to_string().into());
    }
    arguments
}

fn drives(disks: &Disks<'_>) -> Vec<OsString> {
    let read = |index: usize, socket: &Path| {
        let drive = format!(
            "id=d{index},if=none,snapshot=on,format=raw,cache=unsafe,file.driver=nbd,file.export=d{index},\
             file.server.type=unix,file.server.path="
        );
        joined(&drive, socket, "")
    };
    match disks {
        Disks::Read { count, socket } => (0..*count).map(|index| read(index, socket)).collect(),
        Disks::Written(file) => {
            vec![joined(
                "id=d0,if=none,format=qcow2,cache=writeback,file.driver=file,file.filename=",
                file,
                "",
            )]
        }
    }
}

/// A path inside a comma-separated option.
fn joined(before: &str, path: &Path, after: &str) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let path = path.as_os_str().as_bytes();
    let doubled = path.iter().flat_map(|&byte| std::iter::repeat_n(byte, if byte == b',' { 2 } else { 1 }));
    OsString::from_vec(before.bytes().chain(doubled).chain(after.bytes()).collect())
}

/// The best accelerator that works here, and its CPU. In a VM without nested virtualisation `/dev/kvm` may open and still be
/// useless, so the CPU is asked too.
fn accelerator() -> (String, &'static str) {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let virtualises = flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    if virtualises && fs::File::options().read(true).write(true).open("/dev/kvm").is_ok() {
        ("kvm".to_owned(), "host")
    } else {
        (format!("tcg,tb-size={TRANSLATOR_CACHE_MIB}"), "max")
    }
}
