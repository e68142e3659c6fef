//! A QEMU of the test's own, as somebody else would have started it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use env::Env;
use hypervisor::{Baseline, CaptureRequest, CapturedDisk, Chain, DiskChanges, VmAccess, VmOrigin};
use hypervisor_qemu::{QemuConfig, QemuHypervisor};
use image::{ByteRange, DiskImage};
use model::{CaptureId, Consistency, VmDefinition, VmId};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Size of a test's disks unless it says otherwise.
pub const SIZE_BYTES: u64 = 4 << 20;

/// A disk of a test machine.
#[derive(Clone)]
pub struct Disk {
    pub name: &'static str,
    pub format: &'static str,
    pub size_bytes: u64,
    /// Arguments that attach the node of the disk's name.
    pub device: Vec<String>,
}

impl Disk {
    pub fn qcow2(name: &'static str) -> Self {
        Self { name, format: "qcow2", size_bytes: SIZE_BYTES, device: virtio(name, "") }
    }

    pub fn raw(name: &'static str) -> Self {
        Self { format: "raw", ..Self::qcow2(name) }
    }

    pub fn with_device(self, arguments: &[&str]) -> Self {
        Self { device: arguments.iter().map(|&argument| argument.to_owned()).collect(), ..self }
    }
}

/// A virtio device with further properties.
pub fn virtio(name: &str, properties: &str) -> Vec<String> {
    vec!["-device".to_owned(), format!("virtio-blk-pci,id={name},drive={name}{properties}")]
}

/// A running QEMU, and a hypervisor to work on it.
pub struct Machine {
    pub dir: TempDir,
    pub hypervisor: QemuHypervisor,
    pub vm_id: VmId,
    /// The fake guest agent's socket, for tests that have one.
    pub agent: Option<PathBuf>,
    pub last_seen: Option<Box<VmDefinition>>,
    disks: Vec<Disk>,
    process: Child,
    monitor: TestMonitor,
}

impl Machine {
    pub fn start(disks: &[Disk]) -> Self {
        Self::start_with(disks, &[])
    }

    /// Starts a QEMU with new disks and further arguments.
    pub fn start_with(disks: &[Disk], arguments: &[&str]) -> Self {
        Self::start_limited("", disks, arguments)
    }

    /// Starts a QEMU in a shell that first runs other commands, to limit it.
    pub fn start_limited(limits: &str, disks: &[Disk], arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for disk in disks {
            let image = image_path(dir.path(), disk);
            qemu_img(&[
                "create",
                "-q",
                "-f",
                disk.format,
                image.to_str().unwrap(),
                &disk.size_bytes.to_string(),
            ]);
        }
        let process = spawn(limits, dir.path(), disks, arguments);
        let monitor = TestMonitor::connect(&dir.path().join("test.sock"));
        let hypervisor = QemuHypervisor::new(config(dir.path()));
        let vm_id = VmId::from_random([7; 10]);
        let disks = disks.to_vec();
        Self { dir, hypervisor, vm_id, agent: None, last_seen: None, disks, process, monitor }
    }

    /// Ends QEMU as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Ends QEMU in order.
    pub fn quit(&mut self) {
        self.monitor.send("quit", json!({}));
        self.process.wait().unwrap();
    }

    /// Starts QEMU again on the same disks.
    pub fn start_again(&mut self) {
        self.process = spawn("", self.dir.path(), &self.disks, &[]);
        self.monitor = TestMonitor::connect(&self.dir.path().join("test.sock"));
    }

    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    pub fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    pub fn access(&self) -> VmAccess {
        VmAccess {
            vm_id: self.vm_id,
            name: "a \"test\" VM, with odd/names".parse().unwrap(),
            origin: VmOrigin::External {
                qmp: self.dir.path().join("qmp.sock"),
                qmp_out_of_band: Some(self.dir.path().join("qmp2.sock")),
                agent: self.agent.clone(),
                last_seen: self.last_seen.clone(),
            },
        }
    }

    pub fn request(&self, number: u8, baseline: Option<u8>) -> CaptureRequest {
        request(self.access(), number, baseline)
    }

    /// Runs a command on the test's own monitor.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Value {
        let answer = self.monitor.send(command, arguments);
        assert!(answer.get("error").is_none(), "{command}: {answer}");
        answer["return"].clone()
    }

    /// Runs a command that QEMU must refuse, and returns why it does.
    pub fn refused(&mut self, command: &str, arguments: Value) -> String {
        let answer = self.monitor.send(command, arguments);
        answer["error"]["desc"].as_str().unwrap_or_else(|| panic!("{command}: {answer}")).to_owned()
    }

    pub fn status(&mut self) -> String {
        self.execute("query-status", json!({}))["status"].as_str().unwrap().to_owned()
    }

    /// Writes to a disk through its device, as the guest would.
    pub fn write(&mut self, disk: &str, offset_bytes: u64, length_bytes: u64, byte: u8) {
        let said = self.qemu_io(disk, &format!("write -P {byte} {offset_bytes} {length_bytes}"));
        assert!(said.starts_with("wrote"), "{said}");
    }

    /// Has a disk's device do something, and returns what came of it.
    pub fn qemu_io(&mut self, disk: &str, command: &str) -> String {
        let blocks = self.execute("query-block", json!({}));
        let ids = blocks.as_array().unwrap().iter().filter_map(|block| block["qdev"].as_str());
        let id =
            ids.into_iter().find(|id| id.split('/').any(|part| part == disk)).expect("the disk has a device");
        let line = format!("qemu-io -d {id} \"{command}\"");
        let before = self.printed().len();
        let refused = self.execute("human-monitor-command", json!({"command-line": line}));
        assert_eq!(refused, "", "QEMU does not run {command}");
        self.printed().split_off(before)
    }

    /// What QEMU has printed so far; what qemu-io does is told there.
    fn printed(&self) -> String {
        fs::read_to_string(self.dir.path().join("printed")).unwrap()
    }

    /// Everything of Holdfast's that QEMU still has, bitmaps aside.
    pub fn leftovers(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        let queries = [
            ("query-named-block-nodes", "node-name"),
            ("query-block-exports", "id"),
            ("query-block-jobs", "device"),
        ];
        for (query, field) in queries {
            let list = self.execute(query, json!({}));
            found.extend(
                list.as_array().unwrap().iter().filter_map(|entry| entry[field].as_str()).map(str::to_owned),
            );
        }
        let files = fs::read_dir(self.dir.path().join("scratch")).into_iter().flatten().flatten();
        found.extend(files.map(|file| file.file_name().into_string().unwrap()));
        found.retain(|name| name.contains("holdfast"));
        found
    }

    /// The names of a disk's bitmaps. Those that a block job keeps for itself have none.
    pub fn bitmaps(&mut self, disk: &str) -> Vec<String> {
        let nodes = self.execute("query-named-block-nodes", json!({}));
        let node = nodes.as_array().unwrap().iter().find(|node| node["node-name"] == disk).unwrap();
        let bitmaps = node["dirty-bitmaps"].as_array().into_iter().flatten();
        bitmaps.filter_map(|bitmap| bitmap["name"].as_str()).map(str::to_owned).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A request for a crash-consistent capture, for a backup.
pub fn request(vm: VmAccess, number: u8, baseline: Option<u8>) -> CaptureRequest {
    CaptureRequest {
        vm,
        chain: Chain::Backup,
        capture_id: capture_id(number),
        baseline: baseline.map(committed).unwrap_or_default(),
        disk: None,
        consistency: Consistency::Crash,
        strict: false,
        freeze_limit: Duration::from_secs(5),
        on_phase: Arc::new(|_| {}),
    }
}

/// A committed capture of all disks that tests have.
pub fn committed(number: u8) -> Baseline {
    ["vroot", "vdata", "legacy", "a disk, \"quoted\"/slashed"]
        .map(|disk| (disk.parse().unwrap(), capture_id(number)))
        .into_iter()
        .collect()
}

pub fn capture_id(number: u8) -> CaptureId {
    CaptureId::from_random([number; 10])
}

/// What a disk's bitmap of a capture is called: it ends in the FNV-1a of the disk's name.
pub fn bitmap_name(number: u8, disk: &str) -> String {
    let digest = disk.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("holdfast-{}-{digest:016x}", capture_id(number))
}

pub fn config(dir: &Path) -> QemuConfig {
    QemuConfig {
        runtime_dir: dir.join("run"),
        scratch_dir: dir.join("scratch"),
        guard_command: vec![env!("CARGO_BIN_EXE_capture-guard").into()],
        qemu_program: "qemu-system-x86_64".into(),
        env: Env::seeded(1),
    }
}

pub fn qemu_img(arguments: &[&str]) -> String {
    let output = Command::new("qemu-img").args(arguments).output().unwrap();
    assert!(output.status.success(), "qemu-img {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All bytes of an image.
pub async fn bytes_of(image: &dyn DiskImage) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(image.size_bytes()).unwrap()];
    image.read_at(0, &mut bytes).await.unwrap();
    bytes
}

/// Fails unless an image shows exactly these bytes, and says where it does not.
pub async fn assert_shows(image: &dyn DiskImage, expected: &[u8]) {
    let bytes = bytes_of(image).await;
    assert_eq!(bytes.len(), expected.len());
    if let Some(place) = bytes.iter().zip(expected).position(|(byte, expected)| byte != expected) {
        panic!("{:#x} instead of {:#x} at {place}", bytes[place], expected[place]);
    }
}

/// A disk's bytes after some writes of (offset, length, byte).
pub fn expected(size_bytes: u64, writes: &[(u64, u64, u8)]) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(size_bytes).unwrap()];
    for &(offset, length, byte) in writes {
        bytes[offset as usize..(offset + length) as usize].fill(byte);
    }
    bytes
}

/// What changed on a captured disk since the baseline.
pub async fn changes_of(disk: &CapturedDisk) -> Vec<ByteRange> {
    match &disk.changes {
        DiskChanges::Since(changes) => {
            changes.changed_within(ByteRange::new(0, disk.image.size_bytes())).await.unwrap()
        }
        DiskChanges::Unknown { reason } => panic!("nobody knows what changed: {reason}"),
    }
}

/// Why nobody knows what changed on a captured disk.
pub fn reason_of(disk: &CapturedDisk) -> &str {
    match &disk.changes {
        DiskChanges::Since(_) => panic!("it is known what changed"),
        DiskChanges::Unknown { reason } => reason,
    }
}

/// A range in blocks of 64 KiB.
pub fn blocks(first: u64, count: u64) -> ByteRange {
    ByteRange::new(first * 65536, count * 65536)
}

fn image_path(dir: &Path, disk: &Disk) -> PathBuf {
    dir.join(format!("{}.{}", disk.name, disk.format))
}

fn spawn(limits: &str, dir: &Path, disks: &[Disk], arguments: &[&str]) -> Child {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{limits}\nexec stdbuf -oL qemu-system-x86_64 \"$@\"")).arg("sh");
    command.args(["-accel", "tcg", "-machine", "q35", "-m", "32", "-nodefaults", "-display", "none"]);
    for name in ["qmp.sock", "qmp2.sock", "test.sock"] {
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", dir.join(name).display()));
    }
    command.args(arguments);
    for disk in disks {
        let file = json!({"driver": "file", "filename": image_path(dir, disk)});
        let node = json!({"driver": disk.format, "node-name": disk.name, "file": file});
        command.arg("-blockdev").arg(node.to_string()).args(&disk.device);
    }
    let printed = fs::File::create(dir.join("printed")).unwrap();
    command.stdin(Stdio::null()).stdout(printed).spawn().unwrap()
}

/// The test's own way into QEMU, independent of what is tested.
pub struct TestMonitor {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl TestMonitor {
    pub fn connect(path: &Path) -> Self {
        let begun = Instant::now();
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) => {
                    assert!(begun.elapsed() < Duration::from_secs(60), "QEMU does not start: {error}")
                }
            }
            std::thread::yield_now();
        };
        let lines = BufReader::new(stream.try_clone().unwrap());
        let mut monitor = Self { stream, lines };
        monitor.line();
        monitor.send("qmp_capabilities", json!({}));
        monitor
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_default()
    }

    pub fn send(&mut self, command: &str, arguments: Value) -> Value {
        writeln!(self.stream, "{}", json!({"execute": command, "arguments": arguments})).unwrap();
        loop {
            let answer = self.line();
            if answer.get("event").is_none() {
                return answer;
            }
        }
    }
}
