//! Every device model that a guest may have its disks on.

use hypervisor::{CaptureOutcome, Hypervisor};
use model::{DiskBus, NetworkKind};

use crate::machine::{Disk, Machine, SIZE_BYTES, assert_shows, blocks, changes_of, expected};

async fn capture_twice(mut machine: Machine, disk: &str) {
    machine.write(disk, 0, 1 << 20, 0x11);
    let first = machine.hypervisor.capture(machine.request(1, None)).await.unwrap();
    machine.write(disk, 512 << 10, 1 << 20, 0x22);
    let captured = first.disks().iter().find(|captured| captured.name.as_str() == disk).unwrap();
    assert_shows(&*captured.image, &expected(SIZE_BYTES, &[(0, 1 << 20, 0x11)])).await;
    first.finish(CaptureOutcome::Kept).await.unwrap();

    machine.write(disk, 2 << 20, 65536, 0x33);
    let second = machine.hypervisor.capture(machine.request(2, Some(1))).await.unwrap();
    let captured = second.disks().iter().find(|captured| captured.name.as_str() == disk).unwrap();
    assert_eq!(changes_of(captured).await, [blocks(8, 16), blocks(32, 1)]);
    second.finish(CaptureOutcome::Kept).await.unwrap();
    assert_eq!(machine.leftovers(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn scsi() {
    let disk = Disk::qcow2("vroot");
    let disk =
        disk.with_device(&["-device", "virtio-scsi-pci,id=s", "-device", "scsi-hd,id=vroot,drive=vroot"]);
    capture_twice(Machine::start(&[disk]), "vroot").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sata() {
    let disk = Disk::qcow2("vroot").with_device(&["-device", "ide-hd,id=vroot,drive=vroot"]);
    capture_twice(Machine::start(&[disk]), "vroot").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nvme() {
    let disk = Disk::qcow2("vroot").with_device(&["-device", "nvme,id=vroot,serial=x,drive=vroot"]);
    capture_twice(Machine::start(&[disk]), "vroot").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usb() {
    let disk = Disk::qcow2("vroot");
    let disk = disk.with_device(&["-device", "qemu-xhci", "-device", "usb-storage,id=vroot,drive=vroot"]);
    capture_twice(Machine::start(&[disk]), "vroot").await;
}

/// A namespace of its own is a device whose drive is not replaced while the guest runs: a backup job holds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_takes_no_filter() {
    let disk = Disk::qcow2("vroot");
    let disk = disk.with_device(&[
        "-device",
        "nvme,id=controller,serial=x",
        "-device",
        "nvme-ns,id=vroot,drive=vroot",
    ]);
    capture_twice(Machine::start(&[disk]), "vroot").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drive_with_a_name_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("legacy.qcow2");
    let path = path.to_str().unwrap();
    crate::machine::qemu_img(&["create", "-q", "-f", "qcow2", path, "4M"]);
    let drive = format!("if=none,id=drive-name,format=qcow2,file={path}");
    let arguments = ["-drive", &drive, "-device", "virtio-blk-pci,id=legacy,drive=drive-name"];
    capture_twice(Machine::start_with(&[], &arguments), "legacy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_disk_is_left_out_and_the_rest_is_described() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.img");
    std::fs::write(&path, [0; 1 << 20]).unwrap();
    let (cd, read_only) = (
        format!("if=ide,media=cdrom,format=raw,file={0}", path.display()),
        format!("if=virtio,readonly=on,format=raw,file={0}", path.display()),
    );
    let arguments = [
        ["-name", "guest=named by QEMU"],
        ["-uuid", "11111111-2222-3333-4444-555555555555"],
        ["-smp", "2"],
        ["-drive", &cd],
        ["-drive", &read_only],
        ["-netdev", "user,id=n0,restrict=on"],
        ["-device", "e1000,netdev=n0,mac=52:54:00:11:22:33"],
    ];
    let disk = Disk::raw("vdata").with_device(&["-device", "ide-hd,id=vdata,drive=vdata,serial=S1"]);
    let machine = Machine::start_with(&[disk], &arguments.concat());

    let inspection = machine.hypervisor.inspect(&machine.access()).await.unwrap();
    let definition = &inspection.definition;
    assert_eq!(definition.name.as_str(), "named by QEMU");
    assert_eq!(definition.uuid.as_deref(), Some("11111111-2222-3333-4444-555555555555"));
    assert_eq!((definition.cpus, definition.memory.0), (2, 32 << 20));
    assert!(definition.machine.starts_with("pc-q35"), "{}", definition.machine);
    assert_eq!(definition.disks.len(), 1);
    assert_eq!((definition.disks[0].bus, definition.disks[0].serial.as_deref()), (DiskBus::Sata, Some("S1")));
    assert_eq!(definition.networks.len(), 1);
    let network = &definition.networks[0];
    assert_eq!((network.model.as_str(), network.kind), ("e1000", NetworkKind::Isolated));
    assert_eq!(network.mac.as_deref(), Some("52:54:00:11:22:33"));
    assert!(inspection.limits.iter().any(|limit| limit.contains("read-only")), "{:?}", inspection.limits);
    assert!(inspection.hypervisor.starts_with("QEMU "));

    let capture = machine.hypervisor.capture(machine.request(1, None)).await.unwrap();
    assert_eq!(capture.disks().len(), 1);
    assert_eq!(capture.facts().definition, *definition);
    let omitted = &capture.facts().omitted;
    assert!(omitted.len() == 1 && omitted[0].contains("read-only"), "{omitted:?}");
    capture.finish(CaptureOutcome::Kept).await.unwrap();
}
