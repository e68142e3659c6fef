//! Addresses in a guest: asked of its agent, set by the `ip` of Linux.
//!
//! They last until the guest starts again: what it does then is its own configuration.

use std::{net::IpAddr, time::Duration};

use catalog::KnownVm;
use hypervisor::{ErrorKind, GuestNetwork, GuestProgram};
use plan::{Attachment, Output};
use runbook::Log;
use tokio::time::sleep;

use super::LOOK_INTERVAL;
use crate::{
    failure::{Failure, Result},
    site::Site,
    vms,
};

/// How long one command in the guest may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// The most addresses of a guest that are looked at.
const ADDRESSES_MAX: usize = 64;

async fn run(site: &Site, vm: &KnownVm, command: &[&str]) -> Result<()> {
    let program = GuestProgram::new(command.iter().map(ToString::to_string).collect());
    let ended = site.hypervisor.run_in_guest(&vms::access(vm), &program, COMMAND_LIMIT).await?;
    if ended.code == Some(0) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&ended.output).trim().to_owned();
    Err(Failure::conflict(format!("{} in the guest of {} failed: {text}", command.join(" "), vm.name)))
}

/// The addresses by which others reach the guest, as it tells them.
pub(super) async fn of_guest(site: &Site, vm: &KnownVm) -> Result<Vec<String>> {
    let networks = site.hypervisor.guest_networks(&vms::access(vm)).await?;
    let all = networks.into_iter().flat_map(|network| network.addresses);
    Ok(all.filter(is_reached_by_others).take(ADDRESSES_MAX).map(|address| address.to_string()).collect())
}

fn is_reached_by_others(address: &IpAddr) -> bool {
    let is_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !is_local && !address.is_loopback() && !address.is_unspecified()
}

/// The guest's network interfaces, once its agent answers. Whoever began it ends it when its time is over.
async fn networks(site: &Site, vm: &KnownVm, log: &Log) -> Result<Vec<GuestNetwork>> {
    loop {
        match site.hypervisor.guest_networks(&vms::access(vm)).await {
            Err(error) if error.kind() == ErrorKind::Unreachable => {
                log.push(format!("{error}\n").as_bytes());
            }
            told => return Ok(told?),
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// Gives the network devices of a VM their addresses.
pub(super) async fn set(
    site: &Site,
    vm: &KnownVm,
    attachments: &[(u32, Attachment)],
    log: &Log,
) -> Result<Output> {
    let definition = vms::known_definition(vm)
        .ok_or_else(|| Failure::conflict(format!("it is not known what {} is made of", vm.name)))?;
    let links = networks(site, vm, log).await?;
    let mut addresses = Vec::new();
    for (number, attachment) in attachments {
        let network = definition.networks.get(*number as usize);
        let network = network.ok_or_else(|| {
            Failure::invalid(format!("{} has no network device {number}, counted from 0", vm.name))
        })?;
        let has_mac = |link: &GuestNetwork, mac: &str| {
            link.mac.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(mac))
        };
        let of_mac = |mac: &str| links.iter().find(|link| has_mac(link, mac));
        let link = network.mac.as_deref().and_then(of_mac).or_else(|| {
            // A definition need not name them; then the order of the guest's own devices counts.
            let own: Vec<_> = links.iter().filter(|link| link.name != "lo").collect();
            own.get(*number as usize).copied()
        });
        let link = link.ok_or_else(|| {
            Failure::conflict(format!("the guest of {} shows no network device {number}", vm.name))
        })?;
        set_one(site, vm, &link.name, attachment).await?;
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
