//! VMs that Holdfast starts itself, and VMs that do not run.

use std::path::{Path, PathBuf};

use hypervisor::{
    CaptureOutcome, CaptureRequest, Chain, DiskChanges, ErrorKind, Hypervisor, Power, Tracking, VmAccess,
    VmOrigin,
};
use hypervisor_qemu::QemuHypervisor;
use model::{Consistency, DiskBus, DiskDefinition, DiskFormat, Firmware, NetworkKind, VmDefinition, VmId};
use tempfile::TempDir;

use crate::machine::{
    assert_shows, blocks, capture_id, changes_of, committed, config, expected, qemu_img, reason_of, request,
};

const SIZE_BYTES: u64 = 4 << 20;

/// A VM of Holdfast's own, and what ends it when a test fails.
pub struct Managed {
    pub dir: TempDir,
    pub hypervisor: QemuHypervisor,
    pub definition: VmDefinition,
}

impl Managed {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hypervisor = QemuHypervisor::new(config(dir.path()));
        let disks = vec![
            disk(dir.path(), "vroot", DiskFormat::Qcow2, DiskBus::Virtio),
            disk(dir.path(), "a disk, \"quoted\"/slashed", DiskFormat::Raw, DiskBus::Scsi),
        ];
        let definition = VmDefinition {
            name: "웹 서버, with=commas,and \"quotes\"".parse().unwrap(),
            uuid: None,
            cpus: 1,
            memory: model::ByteCount(64 << 20),
            machine: "q35".to_owned(),
            firmware: Firmware::Bios,
            disks,
            networks: vec![network(NetworkKind::Isolated), network(NetworkKind::Disconnected)],
            agent: true,
        };
        Self { dir, hypervisor, definition }
    }

    pub fn access(&self) -> VmAccess {
        let definition = Box::new(self.definition.clone());
        let vm_id = VmId::from_random([9; 10]);
        VmAccess { vm_id, name: self.definition.name.clone(), origin: VmOrigin::Managed { definition } }
    }

    fn request(&self, number: u8, baseline: Option<u8>) -> CaptureRequest {
        request(self.access(), number, baseline)
    }

    /// Writes into a stopped VM's image.
    fn write_at_rest(&self, offset_bytes: u64, length_bytes: u64, byte: u8) {
        let write = format!("write -P {byte} {offset_bytes} {length_bytes}");
        let image = self.definition.disks[0].path.as_ref().unwrap();
        let done = std::process::Command::new("qemu-io")
            .args(["-f", "qcow2", "-c", &write])
            .arg(image)
            .output()
            .unwrap();
        assert!(done.status.success() && done.stdout.starts_with(b"wrote"), "{done:?}");
    }
}

impl Managed {
    /// Where QEMU has its sockets and the number of its process; that is gone when it has ended by itself.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run").join(self.access().vm_id.as_str())
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.run_dir().join("qemu.pid"))
            .ok()
            .and_then(|text| text.trim().parse().ok());
        if let Some(process) = pid.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    }
}

fn disk(dir: &Path, name: &str, format: DiskFormat, bus: DiskBus) -> DiskDefinition {
    let path = dir.join(format!("disk, of {format}"));
    qemu_img(&["create", "-q", "-f", format.as_str(), path.to_str().unwrap(), "4M"]);
    let name = name.parse().unwrap();
    DiskDefinition { name, path: Some(path), format: Some(format), bus, serial: None, iothread: false }
}

fn network(kind: NetworkKind) -> model::NetworkDefinition {
    model::NetworkDefinition { mac: None, model: "virtio-net-pci".to_owned(), kind, bridge: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_is_captured_and_stops() {
    let vm = Managed::new();
    assert_eq!(vm.hypervisor.inspect(&vm.access()).await.unwrap().power, Power::Stopped);
    vm.hypervisor.start(&vm.access()).await.unwrap();
    let again = vm.hypervisor.start(&vm.access()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Busy, "{again}");

    let inspection = vm.hypervisor.inspect(&vm.access()).await.unwrap();
    assert_eq!(inspection.power, Power::Running);
    let names =
        |definition: &VmDefinition| definition.disks.iter().map(|disk| disk.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&inspection.definition), names(&vm.definition));
    let macs: Vec<_> =
        inspection.definition.networks.iter().map(|network| network.mac.clone().unwrap()).collect();
    assert!(macs[0].starts_with("52:54:00:") && macs[0] != macs[1], "{macs:?}");

    let capture = vm.hypervisor.capture(vm.request(1, None)).await.unwrap();
    assert_eq!(capture.disks().len(), 2);
    capture.finish(CaptureOutcome::Kept).await.unwrap();
    vm.hypervisor.stop(&vm.access(), true).await.unwrap();
    assert_eq!(vm.hypervisor.inspect(&vm.access()).await.unwrap().power, Power::Stopped);
    vm.hypervisor.stop(&vm.access(), true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn outlives_the_holdfast_that_started_it() {
    let mut vm = Managed::new();
    vm.hypervisor.start(&vm.access()).await.unwrap();
    vm.hypervisor = QemuHypervisor::new(config(vm.dir.path()));
    assert_eq!(vm.hypervisor.inspect(&vm.access()).await.unwrap().power, Power::Running);
    vm.hypervisor.stop(&vm.access(), true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_qemu_refuses_is_told_in_its_words() {
    let mut vm = Managed::new();
    vm.definition.machine = "no-such-machine".to_owned();
    let error = vm.hypervisor.start(&vm.access()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(error.to_string().contains("unsupported machine type"), "{error}");
    vm.definition.disks[0].format = None;
    let error = vm.hypervisor.start(&vm.access()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "a format is never guessed: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uefi_vm_gets_a_variable_store_of_its_own() {
    let mut vm = Managed::new();
    let variables = vm.dir.path().join("variables.fd");
    vm.definition.firmware = Firmware::Uefi { variables: Some(variables.clone()) };
    vm.hypervisor.start(&vm.access()).await.unwrap();
    assert!(variables.metadata().unwrap().len() > 0);
    let inspection = vm.hypervisor.inspect(&vm.access()).await.unwrap();
    assert_eq!(inspection.disks.len(), 2, "flash is no disk");
    vm.hypervisor.stop(&vm.access(), true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_store_that_no_definition_names_is_found_running_and_stopped() {
    let mut vm = Managed::new();
    vm.definition.firmware = Firmware::Uefi { variables: None };
    let before = vm.hypervisor.inspect(&vm.access()).await.unwrap();
    assert_eq!(before.definition.firmware, vm.definition.firmware, "there is none before the first start");

    vm.hypervisor.start(&vm.access()).await.unwrap();
    let variables = Some(vm.dir.path().join("disk, of qcow2.uefi-variables.fd"));
    let running = vm.hypervisor.capture(vm.request(1, None)).await.unwrap();
    assert_eq!(running.facts().definition.firmware, Firmware::Uefi { variables: variables.clone() });
    running.finish(CaptureOutcome::Kept).await.unwrap();
    vm.hypervisor.stop(&vm.access(), true).await.unwrap();
    let stopped = vm.hypervisor.capture(vm.request(2, Some(1))).await.unwrap();
    assert_eq!(stopped.facts().definition.firmware, Firmware::Uefi { variables });
    stopped.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_shutdown_proves_nothing_once_the_vm_has_run_again() {
    let vm = Managed::new();
    let run = vm.dir.path().join("run").join(vm.access().vm_id.as_str());
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(run.join("clean-shutdown"), "").unwrap();
    let application =
        |number| CaptureRequest { consistency: Consistency::Application, ..vm.request(number, None) };
    let capture = vm.hypervisor.capture(application(1)).await.unwrap();
    assert_eq!(capture.facts().consistency.reached, Consistency::Application);
    capture.finish(CaptureOutcome::Abandoned).await.unwrap();

    vm.hypervisor.start(&vm.access()).await.unwrap();
    assert!(!run.join("clean-shutdown").exists());
    std::fs::write(run.join("clean-shutdown"), "").unwrap();
    assert_eq!(vm.hypervisor.inspect(&vm.access()).await.unwrap().power, Power::Running);
    vm.hypervisor.stop(&vm.access(), true).await.unwrap();
    let capture = vm.hypervisor.capture(application(2)).await.unwrap();
    assert_eq!(capture.facts().consistency.reached, Consistency::Crash);
    capture.finish(CaptureOutcome::Abandoned).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_vm_is_captured_and_its_changes_are_tracked() {
    let vm = Managed::new();
    vm.write_at_rest(0, 1 << 20, 0x11);
    let first = vm.hypervisor.capture(vm.request(1, None)).await.unwrap();
    assert_shows(&*first.disks()[0].image, &expected(SIZE_BYTES, &[(0, 1 << 20, 0x11)])).await;
    let start = vm.hypervisor.start(&vm.access()).await.unwrap_err();
    assert_eq!(start.kind(), ErrorKind::Busy, "nobody writes to what is being read: {start}");
    first.finish(CaptureOutcome::Kept).await.unwrap();
    vm.write_at_rest(2 << 20, 65536, 0x22);

    let abandoned = vm.hypervisor.capture(vm.request(2, Some(1))).await.unwrap();
    assert_eq!(changes_of(&abandoned.disks()[0]).await, [blocks(32, 1)]);
    assert!(reason_of(&abandoned.disks()[1]).contains("not qcow2"));
    abandoned.finish(CaptureOutcome::Abandoned).await.unwrap();
    vm.write_at_rest(3 << 20, 65536, 0x33);
    let third = vm.hypervisor.capture(vm.request(3, Some(1))).await.unwrap();
    assert_eq!(changes_of(&third.disks()[0]).await, [blocks(32, 1), blocks(48, 1)]);
    third.finish(CaptureOutcome::Kept).await.unwrap();
    let inspection = vm.hypervisor.inspect(&vm.access()).await.unwrap();
    assert_eq!(inspection.disks[0].tracking, Tracking::Since(capture_id(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn tracking_goes_on_from_a_stopped_vm_to_a_running_one_and_back() {
    let vm = Managed::new();
    vm.hypervisor.capture(vm.request(1, None)).await.unwrap().finish(CaptureOutcome::Kept).await.unwrap();
    vm.write_at_rest(0, 65536, 0x11);
    vm.hypervisor.start(&vm.access()).await.unwrap();
    let running = vm.hypervisor.capture(vm.request(2, Some(1))).await.unwrap();
    assert_eq!(changes_of(&running.disks()[0]).await, [blocks(0, 1)]);
    running.finish(CaptureOutcome::Kept).await.unwrap();
    vm.hypervisor.stop(&vm.access(), true).await.unwrap();
    vm.write_at_rest(65536, 65536, 0x22);
    let stopped = vm.hypervisor.capture(vm.request(3, Some(2))).await.unwrap();
    assert_eq!(changes_of(&stopped.disks()[0]).await, [blocks(1, 1)]);
    stopped.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_stopped_in_the_middle_of_a_capture_is_settled_at_rest() {
    let vm = Managed::new();
    vm.hypervisor.start(&vm.access()).await.unwrap();
    vm.hypervisor.capture(vm.request(1, None)).await.unwrap().finish(CaptureOutcome::Kept).await.unwrap();
    let held = vm.hypervisor.capture(vm.request(2, Some(1))).await.unwrap();
    vm.hypervisor.stop(&vm.access(), true).await.unwrap();
    drop(held);
    vm.write_at_rest(0, 65536, 0x11);

    vm.hypervisor.recover(&vm.access(), Chain::Backup, &committed(1)).await.unwrap();
    vm.write_at_rest(65536, 65536, 0x22);
    let third = vm.hypervisor.capture(vm.request(3, Some(1))).await.unwrap();
    assert_eq!(changes_of(&third.disks()[0]).await, [blocks(0, 2)]);
    third.finish(CaptureOutcome::Kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_claims_more_of_a_stopped_vm_than_was_seen() {
    let vm = Managed::new();
    let application =
        |number| CaptureRequest { consistency: Consistency::Application, ..vm.request(number, None) };
    let capture = vm.hypervisor.capture(application(1)).await.unwrap();
    assert_eq!(capture.facts().consistency.reached, Consistency::Crash);
    assert!(matches!(capture.disks()[0].changes, DiskChanges::Unknown { .. }));
    capture.finish(CaptureOutcome::Abandoned).await.unwrap();
    let error = vm.hypervisor.capture(CaptureRequest { strict: true, ..application(2) }).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Consistency, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_examined() {
    let dir = tempfile::tempdir().unwrap();
    let checks = hypervisor_qemu::host::examine(&config(dir.path())).await;
    let failed: Vec<_> =
        checks.iter().filter(|check| check.verdict == hypervisor_qemu::host::Verdict::Fail).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let missing = hypervisor_qemu::QemuConfig { qemu_program: "no-such-qemu".into(), ..config(dir.path()) };
    let checks = hypervisor_qemu::host::examine(&missing).await;
    let qemu = checks.iter().find(|check| check.name == "QEMU").unwrap();
    assert_eq!(qemu.verdict, hypervisor_qemu::host::Verdict::Fail);
    assert!(qemu.guidance.is_some());
}
