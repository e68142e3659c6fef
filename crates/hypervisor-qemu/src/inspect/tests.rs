use std::path::Path;

use hypervisor::{Power, VmAccess, VmOrigin};
use model::{ByteCount, Firmware, VmDefinition, VmId};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixListener,
};

use super::inspect;
use crate::{config::QemuConfig, monitor::Monitors};

/// A monitor that greets, and is gone with its QEMU as soon as it is asked for anything.
async fn ends_when_asked(listener: UnixListener, path: &Path) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    let version = json!({"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""});
    let greeting = json!({"QMP": {"version": version, "capabilities": ["oob"]}});
    stream.write_all(format!("{greeting}\n").as_bytes()).await.unwrap();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let order: Value = serde_json::from_str(&line).unwrap();
        if order["execute"] != "qmp_capabilities" {
            std::fs::remove_file(path).unwrap();
            return;
        }
        stream.write_all(format!("{}\n", json!({"return": {}, "id": order["id"]})).as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_vm_that_ends_while_it_is_looked_at_is_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let qmp = directory.path().join("qmp.sock");
    let listener = UnixListener::bind(&qmp).unwrap();
    let config = QemuConfig {
        runtime_dir: directory.path().join("run"),
        scratch_dir: directory.path().join("scratch"),
        guard_command: Vec::new(),
        qemu_program: "qemu-system-x86_64".into(),
        env: env::Env::system(),
    };
    let definition = VmDefinition {
        name: "web".parse().unwrap(),
        uuid: None,
        cpus: 1,
        memory: ByteCount(64 << 20),
        machine: "q35".to_owned(),
        firmware: Firmware::Bios,
        disks: Vec::new(),
        networks: Vec::new(),
        agent: false,
    };
    let origin = VmOrigin::External {
        qmp: qmp.clone(),
        qmp_out_of_band: None,
        agent: None,
        last_seen: Some(Box::new(definition)),
    };
    let vm = VmAccess { vm_id: VmId::from_random([7; 10]), name: "web".parse().unwrap(), origin };
    let monitors = Monitors::default();
    let (looked, ()) = tokio::join!(inspect(&config, &monitors, &vm), ends_when_asked(listener, &qmp));
    assert_eq!(looked.unwrap().power, Power::Stopped);
}
