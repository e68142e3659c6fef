//! Addresses in a guest, through its agent, by the `ip` of Linux.
//!
//! They last until the guest starts again: what it does then is its own configuration.

use std::time::Duration;

use catalog::KnownVm;
use hypervisor::GuestProgram;
use plan::{Attachment, Output};
use serde::Deserialize;

use crate::{
    failure::{Failure, Result},
    site::Site,
    vms,
};

/// How long one command in the guest may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// The most addresses of a guest that are looked at.
const ADDRESSES_MAX: usize = 64;

/// What `ip -j` tells of a device.
#[derive(Debug, Deserialize)]
struct Link {
    #[serde(default)]
    ifname: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    addr_info: Vec<LinkAddress>,
}

#[derive(Debug, Deserialize)]
struct LinkAddress {
    #[serde(default)]
    local: String,
    #[serde(default)]
    scope: String,
}

async fn run(site: &Site, vm: &KnownVm, command: &[&str]) -> Result<Vec<u8>> {
    let program = GuestProgram::new(command.iter().map(ToString::to_string).collect());
    let ended = site.hypervisor.run_in_guest(&vms::access(vm), &program, COMMAND_LIMIT).await?;
    if ended.code == Some(0) {
        return Ok(ended.output);
    }
    let text = String::from_utf8_lossy(&ended.output).trim().to_owned();
    Err(Failure::conflict(format!("{} in the guest of {} failed: {text}", command.join(" "), vm.name)))
}

async fn links(site: &Site, vm: &KnownVm) -> Result<Vec<Link>> {
    let told = run(site, vm, &["ip", "-j", "address", "show"]).await?;
    serde_json::from_slice(&told).map_err(|error| {
        Failure::conflict(format!("the guest of {} tells its addresses in another way: {error}", vm.name))
    })
}

/// The addresses by which others reach the guest, as it tells them.
pub(super) async fn of_guest(site: &Site, vm: &KnownVm) -> Result<Vec<String>> {
    let links = links(site, vm).await?;
    let all = links.into_iter().flat_map(|link| link.addr_info);
    let global = all.filter(|address| address.scope == "global").map(|address| address.local);
    Ok(global.filter(|address| address.parse::<std::net::IpAddr>().is_ok()).take(ADDRESSES_MAX).collect())
}

/// Gives the network devices of a VM their addresses.
pub(super) async fn set(site: &Site, vm: &KnownVm, attachments: &[(u32, Attachment)]) -> Result<Output> {
    let definition = vms::known_definition(vm)
        .ok_or_else(|| Failure::conflict(format!("it is not known what {} is made of", vm.name)))?;
    let links = links(site, vm).await?;
    let mut addresses = Vec::new();
    for (number, attachment) in attachments {
        let network = definition.networks.get(*number as usize);
        let network = network.ok_or_else(|| {
            Failure::invalid(format!("{} has no network device {number}, counted from 0", vm.name))
        })?;
        let of_mac = |mac: &str| links.iter().find(|link| link.address.eq_ignore_ascii_case(mac));
        let link = network.mac.as_deref().and_then(of_mac).or_else(|| {
            // A definition need not name them; then the order of the guest's own devices counts.
            let own: Vec<_> = links.iter().filter(|link| link.ifname != "lo").collect();
            own.get(*number as usize).copied()
        });
        let link = link.ok_or_else(|| {
            Failure::conflict(format!("the guest of {} shows no network device {number}", vm.name))
        })?;
        set_one(site, vm, &link.ifname, attachment).await?;
        let address = attachment.address.as_deref().unwrap_or_default();
        addresses.extend(address.split('/').next().map(str::to_owned));
    }
    Ok(Output { addresses, ..Output::default() })
}

async fn set_one(site: &Site, vm: &KnownVm, device: &str, attachment: &Attachment) -> Result<()> {
    let Some(address) = &attachment.address else { return Ok(()) };
    run(site, vm, &["ip", "address", "flush", "dev", device, "scope", "global"]).await?;
    run(site, vm, &["ip", "address", "replace", address, "dev", device]).await?;
    run(site, vm, &["ip", "link", "set", "dev", device, "up"]).await?;
    if let Some(gateway) = &attachment.gateway {
        run(site, vm, &["ip", "route", "replace", "default", "via", gateway, "dev", device]).await?;
    }
    if !attachment.name_servers.is_empty() {
        let servers = attachment.name_servers.iter().map(String::as_str);
        let command: Vec<_> = ["resolvectl", "dns", device].into_iter().chain(servers).collect();
        run(site, vm, &command).await?;
    }
    Ok(())
}
