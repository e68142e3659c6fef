//! A guest from outside: programs in it, its screen, its serial port.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    sync::Arc,
    time::Duration,
};

use hypervisor::{Error, ErrorKind, GuestExit, GuestNetwork, GuestProgram, Result, VmAccess};
use serde_json::json;

use crate::{
    agent::{Agent, ErrorKind as AgentErrorKind},
    config::{QemuConfig, Sockets},
    launch,
    monitor::Monitors,
    session::Session,
};

/// How long the agent may take to answer at all.
const AGENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest screenshot that is read, in bytes.
const SCREENSHOT_LIMIT_BYTES: u64 = 32 << 20;

/// Runs a program in a guest; see [`hypervisor::Hypervisor::run_in_guest`].
pub(crate) async fn run(
    config: &QemuConfig,
    vm: &VmAccess,
    program: &GuestProgram,
    limit: Duration,
) -> Result<GuestExit> {
    if program.command.is_empty() {
        return Err(failed(vm, ErrorKind::Unsupported, "there is no command"));
    }
    let mut agent = connect(config, vm).await?;
    let ended = agent.exec(program, limit).await.map_err(|error| told(vm, error))?;
    let output = [ended.stdout, ended.stderr].concat();
    Ok(GuestExit { code: ended.exit_code, output })
}

/// Asks a guest for its network interfaces; see [`hypervisor::Hypervisor::guest_networks`].
pub(crate) async fn networks(config: &QemuConfig, vm: &VmAccess) -> Result<Vec<GuestNetwork>> {
    let mut agent = connect(config, vm).await?;
    agent.networks(AGENT_TIMEOUT).await.map_err(|error| told(vm, error))
}

async fn connect(config: &QemuConfig, vm: &VmAccess) -> Result<Agent> {
    let channel = Sockets::of(config, vm)?.agent;
    let channel = channel.ok_or_else(|| failed(vm, ErrorKind::Unsupported, "the VM has no guest agent"))?;
    Agent::connect(&channel, AGENT_TIMEOUT).await.map_err(|error| told(vm, error))
}

fn failed(vm: &VmAccess, kind: ErrorKind, reason: &str) -> Error {
    Error::new(kind, format!("in the guest of {}: {reason}", vm.name))
}

fn told(vm: &VmAccess, error: crate::agent::Error) -> Error {
    let kind = match error.kind() {
        AgentErrorKind::NoChannel | AgentErrorKind::Silent => ErrorKind::Unreachable,
        _ => ErrorKind::Failed,
    };
    failed(vm, kind, &error.to_string()).with_source(error)
}

/// Takes a picture of a guest's screen; see [`hypervisor::Hypervisor::screenshot`].
pub(crate) async fn screenshot(
    config: &Arc<QemuConfig>,
    monitors: &Monitors,
    vm: &VmAccess,
) -> Result<Vec<u8>> {
    let stopped = || Error::new(ErrorKind::Gone, format!("the VM {} does not run", vm.name));
    let session = Session::open(config, monitors, vm).await?.ok_or_else(stopped)?;
    let file = config.vm_dir(vm.vm_id).join("screen.png");
    session.monitor.execute("screendump", json!({"filename": file, "format": "png"})).await?;
    let picture = read_end(&file, SCREENSHOT_LIMIT_BYTES);
    let _ = std::fs::remove_file(&file); // the next one takes its place
    picture.map_err(|source| {
        Error::new(ErrorKind::Failed, format!("the screenshot of {} cannot be read", vm.name))
            .with_source(source)
    })
}

/// The end of what a guest wrote to its serial port; see [`hypervisor::Hypervisor::console`].
pub(crate) fn console(config: &QemuConfig, vm: &VmAccess, limit_bytes: u64) -> Result<Vec<u8>> {
    let file = launch::serial_log(&config.vm_dir(vm.vm_id));
    match read_end(&file, limit_bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|source| {
            Error::new(ErrorKind::Failed, format!("{} cannot be read", file.display())).with_source(source)
        }),
    }
}

/// The last bytes of a file.
fn read_end(path: &Path, limit_bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length_bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(length_bytes.saturating_sub(limit_bytes)))?;
    let mut bytes = Vec::new();
    file.take(limit_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}
