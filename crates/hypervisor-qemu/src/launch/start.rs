//! Starts a QEMU and waits until its monitor answers.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use hypervisor::{Error, ErrorKind, Result, VmAccess, VmOrigin};
use tokio::{process::Command, time};

use super::{Accelerator, arguments, firmware};
use crate::{
    config::{QemuConfig, Sockets},
    monitor::Monitors,
    power,
    session::make_private_dir,
};

/// How long a QEMU may take from its start until it is a daemon.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// What a service manager sets for the server's own memory (mallopt(3)); QEMU does with its own as it does elsewhere.
const SERVER_VARIABLES: [&str; 2] = ["MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_"];
/// Bytes of QEMU's complaint that are passed on.
const COMPLAINT_LIMIT_BYTES: usize = 2048;

/// The file that holds what the guest wrote to its serial port, of a VM with this directory.
pub(crate) fn serial_log(dir: &Path) -> PathBuf {
    dir.join("serial.log")
}

/// Starts a managed VM.
pub(crate) async fn start(config: &QemuConfig, monitors: &Monitors, vm: &VmAccess) -> Result<()> {
    let VmOrigin::Managed { definition } = &vm.origin else {
        let context =
            format!("the VM {} was not defined in Holdfast, which therefore cannot start it", vm.name);
        return Err(
            Error::new(ErrorKind::Unsupported, context).with_guidance("start it the way you always do")
        );
    };
    let sockets = Sockets::of(config, vm)?;
    match monitors.attach(&sockets.monitor, &vm.name).await {
        Ok(_) => return Err(Error::new(ErrorKind::Busy, format!("the VM {} already runs", vm.name))),
        Err(_) if !is_socket_alive(&sockets.monitor).await => {}
        Err(error) => return Err(error),
    }
    let dir = config.vm_dir(vm.vm_id);
    prepare_dir(&dir, &sockets).map_err(|source| {
        let context = format!("cannot prepare the runtime directory {}", dir.display());
        Error::new(ErrorKind::Failed, context).with_source(source)
    })?;
    let plan = arguments::Plan {
        vm_id: vm.vm_id,
        definition,
        dir: &dir,
        accelerator: Accelerator::detect(),
        flash: firmware::prepare(definition)?,
    };
    let arguments = arguments::build(&plan)?;
    power::forget_clean_shutdown(&dir);
    run(config, vm, arguments).await?;
    monitors.attach(&sockets.monitor, &vm.name).await.map(|_| ())
}

/// Whether somebody listens on a socket, whatever they say.
pub(crate) async fn is_socket_alive(path: &Path) -> bool {
    let connected = tokio::net::UnixStream::connect(path).await;
    !connected.is_err_and(|error| {
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
    })
}

fn prepare_dir(dir: &Path, sockets: &Sockets) -> io::Result<()> {
    make_private_dir(dir)?;
    for socket in [Some(&sockets.monitor), sockets.second_monitor.as_ref(), sockets.agent.as_ref()]
        .into_iter()
        .flatten()
    {
        match fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

async fn run(config: &QemuConfig, vm: &VmAccess, arguments: Vec<std::ffi::OsString>) -> Result<()> {
    let failed =
        |why: String| Error::new(ErrorKind::Failed, format!("QEMU does not start the VM {}: {why}", vm.name));
    let mut command = Command::new(&config.qemu_program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    for variable in SERVER_VARIABLES {
        command.env_remove(variable);
    }
    let ended = time::timeout(START_TIMEOUT, command.output())
        .await
        .map_err(|_| failed(format!("it is not ready after {} s", START_TIMEOUT.as_secs())))?;
    let output = ended.map_err(|source| {
        failed(format!("{} does not run", config.qemu_program.display()))
            .with_guidance("install QEMU (Debian and Ubuntu: apt install qemu-system-x86)")
            .with_source(source)
    })?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = &output.stderr[..output.stderr.len().min(COMPLAINT_LIMIT_BYTES)];
    let complaint = String::from_utf8_lossy(complaint).trim().to_owned();
    Err(if complaint.contains("Failed to get \"write\" lock") {
        Error::new(ErrorKind::Busy, format!("a disk of the VM {} is in use: {complaint}", vm.name))
            .with_guidance("stop the program that uses the disk, or wait until its backup has ended")
    } else {
        failed(complaint)
    })
}
