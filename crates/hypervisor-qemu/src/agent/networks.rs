//! The guest's network interfaces.

use std::time::Duration;

use hypervisor::GuestNetwork;
use serde_json::{Value, json};

use super::{Agent, Result};

/// The most interfaces of a guest, and addresses of one, that are looked at.
const COUNTED_MAX: usize = 256;

impl Agent {
    /// The guest's network interfaces, with their addresses.
    ///
    /// # Errors
    /// [`super::ErrorKind::Refused`] where the agent's administrator forbids it.
    pub(crate) async fn networks(&mut self, timeout: Duration) -> Result<Vec<GuestNetwork>> {
        let told = self.execute("guest-network-get-interfaces", json!({}), timeout).await?;
        Ok(read(&told))
    }
}

/// What can be made out of what an agent tells.
fn read(told: &Value) -> Vec<GuestNetwork> {
    let interfaces = told.as_array().into_iter().flatten().take(COUNTED_MAX);
    let read = |interface: &Value| {
        let addresses = interface["ip-addresses"].as_array().into_iter().flatten().take(COUNTED_MAX);
        let addresses = addresses.filter_map(|address| address["ip-address"].as_str()?.parse().ok());
        GuestNetwork {
            name: interface["name"].as_str().unwrap_or_default().to_owned(),
            mac: interface["hardware-address"].as_str().map(str::to_owned),
            addresses: addresses.collect(),
        }
    };
    interfaces.map(read).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::read;

    #[test]
    fn what_an_agent_tells_of_networks_is_read_as_far_as_it_makes_sense() {
        let told = json!([
            { "name": "lo", "ip-addresses": [{ "ip-address": "127.0.0.1", "prefix": 8 }] },
            { "name": "eth0", "hardware-address": "52:54:00:00:00:01", "ip-addresses": [
                { "ip-address": "10.2.0.5", "ip-address-type": "ipv4" }, { "ip-address": "::x" }, { "ip-address": "fe80::1" }] },
            { "name": 7, "ip-addresses": "none" },
        ]);
        let networks = read(&told);
        assert_eq!(networks.len(), 3);
        assert_eq!(networks[1].mac.as_deref(), Some("52:54:00:00:00:01"));
        assert_eq!(
            networks[1].addresses,
            ["10.2.0.5", "fe80::1"].map(|text| text.parse::<std::net::IpAddr>().unwrap())
        );
        assert!(networks[2].name.is_empty() && networks[2].addresses.is_empty());
        assert!(read(&json!({ "no": "list" })).is_empty());
    }
}
