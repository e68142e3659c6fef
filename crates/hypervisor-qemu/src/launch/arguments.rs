//! A VM definition as QEMU's command line.
//!
//! Whatever a person chose travels as JSON or as an argument of its own; the few options that know only QEMU's
//! comma-separated form get their commas doubled.

use std::{ffi::OsString, path::Path};

use hypervisor::Result;
use model::{Firmware, VmDefinition, VmId};
use serde_json::{Value, json};

use super::{Accelerator, disks, firmware::FlashImages, networks};

/// Everything that decides a command line.
pub(super) struct Plan<'a> {
    pub(super) vm_id: VmId,
    pub(super) definition: &'a VmDefinition,
    /// The directory of the VM's sockets and logs.
    pub(super) dir: &'a Path,
    pub(super) accelerator: Accelerator,
    /// The firmware's images, for UEFI.
    pub(super) flash: Option<FlashImages>,
}

/// A command line that grows.
#[derive(Debug, Default)]
pub(super) struct Arguments(Vec<OsString>);

impl Arguments {
    /// Adds an option without a value.
    pub(super) fn flag(&mut self, name: &str) {
        self.0.push(name.into());
    }

    /// Adds an option with a value.
    pub(super) fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.extend([name.into(), value.into()]);
    }

    /// Adds an option whose value is a JSON object.
    pub(super) fn json(&mut self, name: &str, value: &Value) {
        self.option(name, value.to_string());
    }
}

/// Text inside a comma-separated option.
pub(super) fn escaped(text: impl AsRef<Path>) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = text.as_ref().as_os_str().as_bytes();
    let doubled = bytes.iter().flat_map(|&byte| std::iter::repeat_n(byte, if byte == b',' { 2 } else { 1 }));
    OsString::from_vec(doubled.collect())
}

fn joined(before: &str, text: impl AsRef<Path>, after: &str) -> OsString {
    let mut option = OsString::from(before);
    option.push(escaped(text));
    option.push(after);
    option
}

/// The command line of a VM, without the program's name.
pub(super) fn build(plan: &Plan<'_>) -> Result<Vec<OsString>> {
    let mut arguments = Arguments::default();
    machine(&mut arguments, plan);
    channels(&mut arguments, plan);
    disks::add(&mut arguments, &plan.definition.disks)?;
    networks::add(&mut arguments, plan.vm_id, &plan.definition.networks);
    // The last, so that no other device gets another place on the bus.
    arguments.json("-device", &json!({"driver": "VGA", "id": "vm.screen"}));
    Ok(arguments.0)
}

fn machine(arguments: &mut Arguments, plan: &Plan<'_>) {
    let definition = plan.definition;
    arguments.flag("-nodefaults");
    arguments.flag("-no-user-config");
    arguments.flag("-daemonize");
    arguments.option("-display", "none");
    arguments.option("-name", joined("guest=", definition.name.as_str(), ""));
    if let Some(uuid) = &definition.uuid {
        arguments.option("-uuid", uuid);
    }
    let flash = if plan.flash.is_some() { ",pflash0=vm.flash0,pflash1=vm.flash1" } else { "" };
    arguments.option("-machine", joined("type=", &definition.machine, flash));
    arguments.option("-accel", plan.accelerator.as_str());
    arguments.option("-cpu", plan.accelerator.cpu());
    arguments.option("-smp", definition.cpus.max(1).to_string());
    arguments.option("-m", format!("size={}k", definition.memory.0 / 1024));
    if let Some(images) = &plan.flash {
        let file = |path: &Path| json!({"driver": "file", "filename": path.to_string_lossy()});
        let code =
            json!({"driver": "raw", "node-name": "vm.flash0", "read-only": true, "file": file(&images.code)});
        let variables = json!({"driver": "raw", "node-name": "vm.flash1", "file": file(&images.variables)});
        arguments.json("-blockdev", &code);
        arguments.json("-blockdev", &variables);
    }
    if let Firmware::Kernel { kernel, initrd, arguments: kernel_arguments } = &definition.firmware {
        arguments.option("-kernel", kernel);
        if let Some(initrd) = initrd {
            arguments.option("-initrd", initrd);
        }
        arguments.option("-append", kernel_arguments);
    }
    arguments.json("-device", &json!({"driver": "virtio-rng-pci", "id": "vm.rng"}));
}

fn channels(arguments: &mut Arguments, plan: &Plan<'_>) {
    arguments.option("-pidfile", plan.dir.join("qemu.pid"));
    let serial = joined("file,id=vm.serial,append=on,path=", super::serial_log(plan.dir), "");
    arguments.option("-chardev", serial);
    arguments.option("-serial", "chardev:vm.serial");
    let sockets = [
        ("vm.monitor", "qmp.sock", true),
        ("vm.monitor2", "qmp2.sock", true),
        ("vm.agent", "agent.sock", false),
    ];
    for (id, file, is_monitor) in sockets {
        if !is_monitor && !plan.definition.agent {
            continue;
        }
        let socket = joined(&format!("socket,id={id},server=on,wait=off,path="), plan.dir.join(file), "");
        arguments.option("-chardev", socket);
        if is_monitor {
            arguments.option("-mon", format!("chardev={id},mode=control"));
        } else {
            arguments.json("-device", &json!({"driver": "virtio-serial-pci", "id": "vm.serial-bus"}));
            let port = json!({"driver": "virtserialport", "chardev": id, "name": "org.qemu.guest_agent.0"});
            arguments.json("-device", &port);
        }
    }
}
