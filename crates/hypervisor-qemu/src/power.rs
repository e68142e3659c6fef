//! Whether a VM runs, and how it is made to stop.

use std::{fs, io, path::Path, time::Duration};

use hypervisor::{Error, ErrorKind, Power, Result, VmAccess};
use tokio::time::{self, Instant};

use crate::{
    agent::Agent,
    config::{QemuConfig, Sockets},
    monitor::{Monitor, Monitors},
    session::make_private_dir,
};

/// How long a guest may take to shut down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(120);
/// How long to wait for an agent before ACPI is asked instead.
const AGENT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a QEMU may take to end when told to; it writes its disks' caches back.
const QUIT_TIMEOUT: Duration = Duration::from_secs(20);

/// What QEMU's word for a VM's state means.
pub(crate) fn of_status(status: &str) -> Power {
    if status == "running" { Power::Running } else { Power::Paused }
}

/// Stops a VM; see [`hypervisor::Hypervisor::stop`].
pub(crate) async fn stop(config: &QemuConfig, monitors: &Monitors, vm: &VmAccess, force: bool) -> Result<()> {
    let sockets = Sockets::of(config, vm)?;
    let monitor = match monitors.attach(&sockets.monitor, &vm.name).await {
        Ok(monitor) => monitor,
        Err(_) if !crate::launch::is_socket_alive(&sockets.monitor).await => return Ok(()),
        Err(error) => return Err(error),
    };
    if force { quit(&monitor, vm).await } else { shut_down(config, &monitor, &sockets, vm).await }
}

async fn shut_down(config: &QemuConfig, monitor: &Monitor, sockets: &Sockets, vm: &VmAccess) -> Result<()> {
    let mut events = monitor.qmp().events();
    ask_to_shut_down(monitor, sockets).await?;
    let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
    let mut by_guest = false;
    loop {
        tokio::select! {
            event = events.recv() => {
                by_guest |= event.is_ok_and(|event| event.name == "SHUTDOWN" && event.data["guest"] == true);
            }
            () = monitor.qmp().closed() => break,
            () = time::sleep_until(deadline) => {
                let context = format!("the guest of {} has not shut down within {} s", vm.name, SHUTDOWN_TIMEOUT.as_secs());
                return Err(Error::new(ErrorKind::Busy, context)
                    .with_guidance("stop it with --force, which is a power cut for the guest"));
            }
        }
    }
    while let Ok(event) = events.try_recv() {
        by_guest |= event.name == "SHUTDOWN" && event.data["guest"] == true;
    }
    if by_guest {
        note_clean_shutdown(&config.vm_dir(vm.vm_id));
    }
    Ok(())
}

async fn ask_to_shut_down(monitor: &Monitor, sockets: &Sockets) -> Result<()> {
    if let Some(path) = &sockets.agent
        && let Ok(mut agent) = Agent::connect(path, AGENT_TIMEOUT).await
        && agent.shutdown(AGENT_TIMEOUT).await.is_ok()
    {
        return Ok(());
    }
    monitor.query("system_powerdown").await.map(|_| ())
}

async fn quit(monitor: &Monitor, vm: &VmAccess) -> Result<()> {
    match monitor.query("quit").await {
        Err(error) if error.kind() != ErrorKind::Gone => return Err(error),
        _ => {}
    }
    if time::timeout(QUIT_TIMEOUT, monitor.qmp().closed()).await.is_ok() {
        return Ok(());
    }
    let hangs = || Error::new(ErrorKind::Failed, format!("the QEMU of {} does not end", vm.name));
    let process = monitor.qmp().process_id().and_then(rustix::process::Pid::from_raw).ok_or_else(hangs)?;
    rustix::process::kill_process(process, rustix::process::Signal::KILL)
        .map_err(|source| hangs().with_source(io::Error::from(source)))?;
    time::timeout(QUIT_TIMEOUT, monitor.qmp().closed()).await.map_err(|_| hangs())
}

/// The proof that a guest shut itself down, which a stopped VM's consistency rests on.
fn clean_shutdown_note(dir: &Path) -> std::path::PathBuf {
    dir.join("clean-shutdown")
}

fn note_clean_shutdown(dir: &Path) {
    if let Err(error) = make_private_dir(dir).and_then(|()| fs::write(clean_shutdown_note(dir), "")) {
        tracing::warn!(%error, "a clean shutdown cannot be noted");
    }
}

/// Forgets the proof, because the VM runs or its disks are overwritten.
pub(crate) fn forget_clean_shutdown(dir: &Path) {
    let _ = fs::remove_file(clean_shutdown_note(dir)); // most VMs have none
}

/// Whether a stopped VM's guest is known to have shut itself down.
pub(crate) fn was_shut_down_cleanly(dir: &Path) -> bool {
    clean_shutdown_note(dir).exists()
}
