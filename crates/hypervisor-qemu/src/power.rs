//! Whether a VM runs, and how it is made to stop.

use std::{fs, io, path::Path, time::Duration};

use hypervisor::{Error, ErrorKind, Power, Result, VmAccess, VmOrigin};
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};
use serde_json::json;
use tokio::{net::UnixStream, time};

use crate::{
    agent::Agent,
    config::{QemuConfig, Sockets},
    monitor::{Monitor, Monitors},
    qmp::{self, Event},
    session::make_private_dir,
};

/// How long a guest may take to shut down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(120);
/// How long to wait for an agent before ACPI is asked instead.
const AGENT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a QEMU may take to end when told to; it writes its disks' caches back.
const QUIT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may wait meanwhile for images that it reads over NBD.
const IMAGES_TIMEOUT: Duration = Duration::from_secs(5);

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
        // One that ends and cannot answers nobody. That of somebody else may only be busy with another client.
        Err(error) if force && error.kind() == ErrorKind::Unreachable && is_managed(vm) => {
            return kill_silent(&sockets.monitor, vm).await;
        }
        Err(error) => return Err(error),
    };
    if force { quit(&monitor, vm).await } else { shut_down(config, &monitor, &sockets, vm).await }
}

fn is_managed(vm: &VmAccess) -> bool {
    matches!(vm.origin, VmOrigin::Managed { .. })
}

async fn shut_down(config: &QemuConfig, monitor: &Monitor, sockets: &Sockets, vm: &VmAccess) -> Result<()> {
    let mut events = monitor.qmp().events();
    ask_to_shut_down(monitor, sockets).await?;
    let mut by_guest = false;
    let shutting_down = async {
        loop {
            tokio::select! {
                event = events.recv() => if event.is_ok_and(|event| is_shutdown(&event, &mut by_guest)) { break },
                () = monitor.qmp().closed() => break,
            }
        }
    };
    if time::timeout(SHUTDOWN_TIMEOUT, shutting_down).await.is_err() {
        let context =
            format!("the guest of {} has not shut down within {} s", vm.name, SHUTDOWN_TIMEOUT.as_secs());
        return Err(Error::new(ErrorKind::Busy, context)
            .with_guidance("stop it with --force, which is a power cut for the guest"));
    }
    while let Ok(event) = events.try_recv() {
        is_shutdown(&event, &mut by_guest);
    }
    let by_itself = end(monitor, vm).await?;
    if by_guest && by_itself {
        note_clean_shutdown(&config.vm_dir(vm.vm_id));
    }
    Ok(())
}

/// Whether the guest's machine goes off; notes where it was the guest that did it.
fn is_shutdown(event: &Event, by_guest: &mut bool) -> bool {
    let is_shutdown = event.name == "SHUTDOWN";
    *by_guest |= is_shutdown && event.data["guest"] == true;
    is_shutdown
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
    match monitor.qmp().execute("quit", json!({}), IMAGES_TIMEOUT).await {
        Err(error) if error.kind() == qmp::ErrorKind::Refused => {
            let context = format!("the QEMU of {} does not quit: {error}", vm.name);
            Err(Error::new(ErrorKind::Failed, context).with_source(error))
        }
        // One that does not answer is told by other means.
        _ => end(monitor, vm).await.map(drop),
    }
}

/// Waits until a QEMU has ended that was told to. What keeps it is taken from it: first the images that it reads, then its
/// life. Whether it ended by itself.
async fn end(monitor: &Monitor, vm: &VmAccess) -> Result<bool> {
    let closed = async |limit| time::timeout(limit, monitor.qmp().closed()).await.is_ok();
    if closed(IMAGES_TIMEOUT).await {
        return Ok(true);
    }
    if let Err(error) = monitor.cut_nodes(|_| true).await {
        tracing::debug!(vm = %vm.name, %error, "QEMU keeps the images that it reads");
    }
    if closed(QUIT_TIMEOUT).await {
        return Ok(true);
    }
    let hangs = || Error::new(ErrorKind::Failed, format!("the QEMU of {} does not end", vm.name));
    kill(monitor.qmp().process_id().ok_or_else(hangs)?, vm)?;
    if closed(QUIT_TIMEOUT).await { Ok(false) } else { Err(hangs()) }
}

/// Kills a QEMU whose monitor answers nobody, by the process on the other side of its socket.
async fn kill_silent(socket: &Path, vm: &VmAccess) -> Result<()> {
    let unreachable = |source: io::Error| {
        Error::new(ErrorKind::Unreachable, format!("the QEMU of {} cannot be found", vm.name))
            .with_source(source)
    };
    let stream = UnixStream::connect(socket).await.map_err(unreachable)?;
    let credentials = stream.peer_cred().map_err(unreachable)?;
    let process = credentials.pid().ok_or_else(|| unreachable(io::ErrorKind::NotFound.into()))?;
    kill(process, vm)?;
    // Its end closes the connection.
    let ended = async { while stream.readable().await.is_ok() && has_more(&stream) {} };
    time::timeout(QUIT_TIMEOUT, ended)
        .await
        .map_err(|_| Error::new(ErrorKind::Failed, format!("the QEMU of {} does not end", vm.name)))
}

/// Whether a connection goes on after what it has for us, which nobody reads.
fn has_more(stream: &UnixStream) -> bool {
    match stream.try_read(&mut [0; 4096]) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

fn kill(process: i32, vm: &VmAccess) -> Result<()> {
    let hangs = || Error::new(ErrorKind::Failed, format!("the QEMU of {} cannot be killed", vm.name));
    let process = Pid::from_raw(process).ok_or_else(hangs)?;
    match kill_process(process, Signal::KILL) {
        // It has ended meanwhile.
        Err(Errno::SRCH) => Ok(()),
        killed => killed.map_err(|source| hangs().with_source(io::Error::from(source))),
    }
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
