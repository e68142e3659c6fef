//! The network interfaces of a running VM.

use std::{collections::HashMap, fs, path::Path};

use hypervisor::Result;
use model::{NetworkDefinition, NetworkKind};
use serde_json::{Value, json};

use crate::monitor::Monitor;

/// Where QEMU keeps the devices that its command line or a hot-plug made.
const DEVICE_FOLDERS: [&str; 2] = ["/machine/peripheral", "/machine/peripheral-anon"];

/// Every device with a MAC address, in QEMU's order.
pub(super) async fn discover(monitor: &Monitor) -> Result<Vec<NetworkDefinition>> {
    let mut networks = Vec::new();
    let mut backends = None;
    for folder in DEVICE_FOLDERS {
        let children = monitor.execute("qom-list", json!({"path": folder})).await?;
        for child in children.as_array().into_iter().flatten() {
            let (Some(name), Some(kind)) = (child["name"].as_str(), child["type"].as_str()) else { continue };
            let Some(model) = kind.strip_prefix("child<").and_then(|kind| kind.strip_suffix('>')) else {
                continue;
            };
            let path = format!("{folder}/{name}");
            let Some(Value::String(mac)) = monitor.property(&path, "mac").await? else { continue };
            if backends.is_none() {
                backends = Some(read_backends(monitor).await?);
            }
            let netdev = monitor.property(&path, "netdev").await?;
            let backend = netdev.as_ref().and_then(Value::as_str).and_then(|id| backends.as_ref()?.get(id));
            let (kind, bridge) = backend.map_or((NetworkKind::Disconnected, None), |backend| backend.kind());
            networks.push(NetworkDefinition { mac: Some(mac), model: model.to_owned(), kind, bridge });
        }
    }
    Ok(networks)
}

/// A network backend: its options as QEMU prints them.
struct Backend(HashMap<String, String>);

impl Backend {
    fn kind(&self) -> (NetworkKind, Option<String>) {
        let option = |name: &str| self.0.get(name).map(String::as_str);
        match option("type") {
            Some("user") if option("restrict") == Some("on") => (NetworkKind::Isolated, None),
            Some("user") => (NetworkKind::User, None),
            Some("tap" | "bridge") => (NetworkKind::Bridge, option("ifname").and_then(bridge_of)),
            _ => (NetworkKind::Disconnected, None),
        }
    }
}

/// The bridge that an interface of this host is part of.
fn bridge_of(interface: &str) -> Option<String> {
    if interface.is_empty() || interface.contains(['/', '.']) {
        return None;
    }
    let master = fs::read_link(Path::new("/sys/class/net").join(interface).join("master")).ok()?;
    Some(master.file_name()?.to_str()?.to_owned())
}

/// QEMU tells of its backends only in prose meant for people: lines such as ` \ n0: index=0,type=user,restrict=off`.
async fn read_backends(monitor: &Monitor) -> Result<HashMap<String, Backend>> {
    let prose = monitor.execute("human-monitor-command", json!({"command-line": "info network"})).await?;
    Ok(parse_backends(prose.as_str().unwrap_or_default()))
}

fn parse_backends(prose: &str) -> HashMap<String, Backend> {
    let lines = prose.lines().filter_map(|line| line.trim_start_matches([' ', '\\']).split_once(": "));
    let options = |text: &str| {
        let pairs = text.split(',').filter_map(|option| option.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
    };
    lines.map(|(id, text)| (id.to_owned(), Backend(options(text)))).collect()
}

#[cfg(test)]
mod tests;
