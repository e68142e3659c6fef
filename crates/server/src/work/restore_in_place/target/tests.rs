use model::{
    ByteCount, CaptureCost, CaptureId, Consistency, ConsistencyReached, PointId, PointSummary, Timestamp,
};
use serde_json::json;

use super::*;

const OURS: [u8; 10] = [1; 10];

fn vm(value: serde_json::Value) -> VmDefinition {
    serde_json::from_value(value).unwrap()
}

fn point_of(vm_id: VmId, definition: VmDefinition) -> PointRecord {
    let asked = Consistency::Crash;
    PointRecord {
        summary: PointSummary {
            id: PointId::from_random([2; 10]),
            vm_id,
            vm_name: definition.name.clone(),
            captured_at: Timestamp::from_microseconds(0),
            capture_id: CaptureId::from_random([3; 10]),
            parent: None,
            consistency: ConsistencyReached { asked, reached: asked, shortfall: None },
            disks: Vec::new(),
            cost: CaptureCost::default(),
            label: None,
        },
        definition,
        maps: Vec::new(),
    }
}

fn now() -> VmDefinition {
    vm(json!({
        "name": "new-name", "uuid": "u-now", "memory": "2GiB", "cpus": 4,
        "firmware": {"kind": "uefi", "variables": "/vars"},
        "disk": [
            {"name": "added", "path": "/added", "format": "raw"},
            {"name": "root", "path": "/now", "format": "qcow2", "bus": "scsi"},
        ],
        "network": [{"kind": "user", "mac": "52:54:00:00:00:09"}],
    }))
}

fn then() -> VmDefinition {
    vm(json!({
        "name": "old-name", "uuid": "u-then", "memory": "1GiB",
        "firmware": {"kind": "uefi", "variables": "/old-vars"},
        "disk": [{"name": "root", "bus": "virtio"}, {"name": "cdrom"}],
        "network": [
            {"kind": "user", "mac": "52:54:00:00:00:02"}, {"kind": "user", "mac": "52:54:00:00:00:01"},
        ],
    }))
}

#[test]
fn a_vm_stays_itself_and_gets_the_hardware_of_its_point() {
    let id = VmId::from_random(OURS);
    let restored = definition(&now(), id, &point_of(id, then()));
    assert_eq!((restored.name.as_str(), restored.uuid.as_deref()), ("new-name", Some("u-now")));
    assert_eq!((restored.memory, restored.cpus), (ByteCount(1 << 30), 1));
    assert_eq!(restored.firmware, now().firmware);
    assert_eq!(restored.networks, then().networks);
    let expected = vm(json!({
        "name": "x", "memory": "1GiB",
        "disk": [
            {"name": "root", "path": "/now", "format": "qcow2", "bus": "virtio"},
            {"name": "added", "path": "/added", "format": "raw"},
        ],
    }));
    assert_eq!(restored.disks, expected.disks);
}

#[test]
fn the_point_of_another_vm_brings_no_network_cards() {
    let other = VmId::from_random([9; 10]);
    let restored = definition(&now(), VmId::from_random(OURS), &point_of(other, then()));
    assert_eq!(restored.networks, now().networks);
}
