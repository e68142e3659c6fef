//! Waiting until a VM is well.

use std::{net::IpAddr, time::Duration};

use model::VmName;
use plan::{Gate, HttpGate, Outcome, Output, TcpGate};
use runbook::{HttpCall, Log};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{Order, addresses, facts, up_vm};
use crate::{site::Site, vms};

/// How long is waited between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// How long one look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// Looks again and again until the gate opens; whoever began it ends it when its time is over.
pub(super) async fn wait(order: &Order, vm: &VmName, gate: &Gate) -> Outcome {
    loop {
        match look(order, vm, gate).await {
            Ok(output) => return Outcome::Succeeded(output),
            Err(why) => order.log.push(format!("{why}\n").as_bytes()),
        }
        sleep(PAUSE).await;
    }
}

/// What was seen, or why it is not well yet.
async fn look(order: &Order, vm: &VmName, gate: &Gate) -> Result<Output, String> {
    let site = &order.site;
    let up = up_vm(order, vm).await.map_err(|failure| failure.detail().to_owned())?;
    if gate.agent {
        let version = vms::agent(site, &up).await.map_err(|failure| failure.detail().to_owned())?;
        let version = version.ok_or("the guest agent does not answer")?;
        let text = format!("the guest agent {version} answered");
        // Not every guest tells them, and not every plan needs them.
        let addresses = addresses::of_guest(site, &up).await.unwrap_or_default();
        return Ok(Output { text, addresses, ..Output::default() });
    }
    if let Some(command) = &gate.command {
        let checked = vms::check(site, &up, command, LOOK_LIMIT).await;
        let checked = checked.map_err(|failure| failure.detail().to_owned())?;
        let text = String::from_utf8_lossy(&checked.output).into_owned();
        return match checked.failure {
            None => Ok(Output { text, exit_code: Some(0), ..Output::default() }),
            Some(how) => Err(format!("it ended {how}: {}", text.trim())),
        };
    }
    let (address, found) = address(site, order, vm, &up).await?;
    let text = match (&gate.tcp, &gate.http) {
        (Some(tcp), _) => connect(tcp, &address).await?,
        (_, Some(http)) => call(http, &address).await?,
        _ => return Err("the gate asks for nothing".to_owned()),
    };
    Ok(Output { text, addresses: found, ..Output::default() })
}

/// The first address of the guest, and those that were asked for just now.
async fn address(
    site: &Site,
    order: &Order,
    vm: &VmName,
    up: &catalog::KnownVm,
) -> Result<(String, Vec<String>), String> {
    let known = facts(order, vm).map_err(|failure| failure.detail().to_owned())?;
    if let Some(first) = known.addresses.first() {
        return Ok((first.clone(), Vec::new()));
    }
    let found = addresses::of_guest(site, up).await.unwrap_or_default();
    Ok((found.first().cloned().unwrap_or_default(), found))
}

async fn connect(tcp: &TcpGate, address: &str) -> Result<String, String> {
    let host = tcp.host.as_deref().unwrap_or(address);
    if host.is_empty() {
        return Err("the guest tells no address".to_owned());
    }
    match timeout(LOOK_LIMIT, TcpStream::connect((host, tcp.port))).await {
        Ok(Ok(_)) => Ok(format!("port {} of {host} took a connection", tcp.port)),
        Ok(Err(error)) => Err(format!("port {} of {host}: {error}", tcp.port)),
        Err(_) => Err(format!("port {} of {host} does not answer", tcp.port)),
    }
}

async fn call(http: &HttpGate, address: &str) -> Result<String, String> {
    if http.url.contains("{address}") && address.is_empty() {
        return Err("the guest tells no address".to_owned());
    }
    let host = match address.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => address.to_owned(),
    };
    let url = http.url.replace("{address}", &host);
    let call = HttpCall {
        method: "GET".to_owned(),
        url: url.clone(),
        headers: std::collections::BTreeMap::new(),
        body: String::new(),
        time_limit: LOOK_LIMIT,
    };
    let log = Log::default();
    let answer = call.make(&log).await.map_err(|error| format!("{url}: {error}"))?;
    let is_right = http.status.map_or_else(|| answer.is_success(), |status| status == answer.status);
    if !is_right {
        return Err(format!("{url} answers with the status {}", answer.status));
    }
    match &http.contains {
        Some(wanted) if !log.text().contains(wanted) => Err(format!("{url} does not say {wanted:?}")),
        _ => Ok(format!("{url} answered with the status {}", answer.status)),
    }
}
