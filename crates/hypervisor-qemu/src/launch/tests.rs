use std::{ffi::OsString, path::Path};

use model::{
    ByteCount, DiskBus, DiskDefinition, DiskFormat, Firmware, NetworkDefinition, NetworkKind, VmDefinition,
    VmId,
};
use serde_json::Value;

use super::{
    Accelerator,
    arguments::{Plan, build},
    device_ids, with_stable_macs,
};

fn disk(name: &str) -> DiskDefinition {
    DiskDefinition {
        name: name.parse().unwrap(),
        path: Some(format!("/images/{name}.qcow2").into()),
        format: Some(DiskFormat::Qcow2),
        bus: DiskBus::Virtio,
        serial: None,
        iothread: false,
    }
}

fn definition(disks: Vec<DiskDefinition>) -> VmDefinition {
    VmDefinition {
        name: "web, \"1\"".parse().unwrap(),
        uuid: None,
        cpus: 2,
        memory: ByteCount(512 << 20),
        machine: "q35".to_owned(),
        firmware: Firmware::Bios,
        disks,
        networks: Vec::new(),
        agent: false,
    }
}

fn command_line(definition: &VmDefinition) -> Vec<String> {
    let plan = Plan {
        vm_id: VmId::from_random([1; 10]),
        definition,
        dir: Path::new("/run/a,b"),
        accelerator: Accelerator::Tcg,
        flash: None,
    };
    build(&plan).unwrap().into_iter().map(|argument: OsString| argument.into_string().unwrap()).collect()
}

fn values<'a>(arguments: &'a [String], option: &str) -> Vec<&'a str> {
    arguments.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].as_str()).collect()
}

#[test]
fn commas_of_people_never_end_an_option() {
    let arguments = command_line(&definition(vec![disk("vroot")]));
    assert_eq!(values(&arguments, "-name"), ["guest=web,, \"1\""]);
    assert!(
        values(&arguments, "-chardev").iter().any(|chardev| chardev.ends_with("path=/run/a,,b/qmp.sock"))
    );
    assert_eq!(values(&arguments, "-pidfile"), ["/run/a,b/qemu.pid"], "this option takes its value as it is");
    assert_eq!(values(&arguments, "-m"), ["size=524288k"]);
}

#[test]
fn a_node_and_its_device_carry_the_disks_name() {
    let arguments = command_line(&definition(vec![disk("vroot"), disk("a disk, \"x\"/y")]));
    let nodes: Vec<Value> =
        values(&arguments, "-blockdev").iter().map(|node| serde_json::from_str(node).unwrap()).collect();
    assert_eq!(nodes[0]["node-name"], "vroot");
    assert_eq!(nodes[1]["node-name"], "vm.disk1");
    assert_eq!(nodes[1]["file"]["filename"], "/images/a disk, \"x\"/y.qcow2");
    let devices: Vec<Value> =
        values(&arguments, "-device").iter().map(|device| serde_json::from_str(device).unwrap()).collect();
    let disk = devices.iter().find(|device| device["id"] == "vroot").unwrap();
    assert_eq!((&disk["drive"], &disk["bootindex"]), (&"vroot".into(), &1.into()));
}

#[test]
fn ids_are_unique_and_short_enough_for_nodes() {
    let disks = ["vda", "vda", "9starts-with-a-digit", "vm.net0", &"x".repeat(32), &"x".repeat(31)].map(disk);
    let ids = device_ids(&disks);
    assert_eq!(ids, ["vda", "vm.disk1", "vm.disk2", "vm.disk3", "vm.disk4", &"x".repeat(31)]);
}

#[test]
fn an_io_thread_needs_a_bus_that_has_them() {
    let mut sata = disk("vroot");
    (sata.bus, sata.iothread) = (DiskBus::Sata, true);
    let definition = definition(vec![sata]);
    let plan = Plan {
        vm_id: VmId::from_random([1; 10]),
        definition: &definition,
        dir: Path::new("/run"),
        accelerator: Accelerator::Kvm,
        flash: None,
    };
    assert_eq!(build(&plan).unwrap_err().kind(), hypervisor::ErrorKind::Unsupported);
}

#[test]
fn macs_stay_the_same_and_differ_between_vms_and_interfaces() {
    let network =
        NetworkDefinition { mac: None, model: "e1000".to_owned(), kind: NetworkKind::User, bridge: None };
    let definition = VmDefinition { networks: vec![network.clone(), network], ..definition(Vec::new()) };
    let macs = |seed| -> Vec<String> {
        let completed = with_stable_macs(VmId::from_random([seed; 10]), &definition);
        completed.networks.into_iter().filter_map(|network| network.mac).collect()
    };
    assert_eq!(macs(1), macs(1));
    let mut all = [macs(1), macs(2)].concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4);
}
