//! Network interfaces on the command line.

use model::{NetworkDefinition, NetworkKind, VmDefinition, VmId};
use serde_json::json;

use super::arguments::{Arguments, escaped};

/// Adds the interfaces, each on a network of its own kind.
pub(super) fn add(arguments: &mut Arguments, vm_id: VmId, networks: &[NetworkDefinition]) {
    for (index, network) in networks.iter().enumerate() {
        let id = format!("vm.net{index}");
        let mut netdev = std::ffi::OsString::from(match network.kind {
            NetworkKind::User => format!("user,id={id}"),
            NetworkKind::Isolated => format!("user,id={id},restrict=on"),
            NetworkKind::Bridge => format!("bridge,id={id}"),
            NetworkKind::Disconnected => format!("hubport,id={id},hubid={index}"),
        });
        if let (NetworkKind::Bridge, Some(bridge)) = (network.kind, &network.bridge) {
            netdev.push(",br=");
            netdev.push(escaped(bridge));
        }
        arguments.option("-netdev", netdev);
        let mac = network.mac.clone().unwrap_or_else(|| stable_mac(vm_id, index));
        arguments.json(
            "-device",
            &json!({"driver": network.model, "id": format!("vm.nic{index}"), "netdev": id, "mac": mac}),
        );
    }
}

/// The definition with the MAC addresses that its interfaces have when the VM runs.
pub(crate) fn with_stable_macs(vm_id: VmId, definition: &VmDefinition) -> VmDefinition {
    let mut completed = definition.clone();
    for (index, network) in completed.networks.iter_mut().enumerate() {
        network.mac.get_or_insert_with(|| stable_mac(vm_id, index));
    }
    completed
}

/// A MAC address of QEMU's range that a VM keeps: FNV-1a over its id and the interface's place.
fn stable_mac(vm_id: VmId, index: usize) -> String {
    let seed = format!("{vm_id}/{index}");
    let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [a, b, c, ..] = hash.to_be_bytes();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}
