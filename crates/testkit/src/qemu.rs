//! VMs that QEMU runs outside Holdfast, as another tool would have started them.

mod arguments;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use model::ByteCount;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

use crate::{
    agent::GuestAgent,
    guest::{GuestDisks, GuestImage},
    json_lines::JsonLines,
    transcript,
};

pub use arguments::acceleration;

/// What a guest under emulation on a busy machine may take to boot or to shut down.
const PATIENCE: Duration = Duration::from_secs(180);

/// How a VM is built.
#[derive(Debug, Clone)]
pub struct VmOptions {
    /// What starts the guest.
    pub boot: Boot,
    /// Memory.
    pub memory: ByteCount,
    /// Whether there is a channel for the guest agent that Holdfast uses.
    pub agent: bool,
    /// Whether each disk has an I/O thread of its own.
    pub iothreads: bool,
    /// More arguments for QEMU.
    pub extra_arguments: Vec<String>,
}

/// What starts the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// BIOS and the root disk's boot loader.
    Disk,
    /// QEMU loads the kernel itself, which is faster.
    Kernel,
}

impl Default for VmOptions {
    fn default() -> Self {
        Self {
            boot: Boot::Kernel,
            memory: ByteCount(256 << 20),
            agent: true,
            iothreads: false,
            extra_arguments: Vec::new(),
        }
    }
}

/// A running guest. Its QEMU is killed when this value is dropped, and when the process that started it dies.
#[derive(Debug)]
pub struct GuestVm {
    process: Child,
    serial: watch::Receiver<String>,
    sockets: TempDir,
}

impl GuestVm {
    /// Starts a guest on these disks and waits until it is up.
    ///
    /// # Errors
    /// When QEMU or the guest does not start; with what they said.
    pub async fn start(image: &GuestImage, disks: &GuestDisks, options: &VmOptions) -> Result<Self> {
        let sockets = tempfile::Builder::new().prefix("holdfast-test-vm-").tempdir()?;
        // QEMU must not outlive a test that is killed, and dropping values does not help then.
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args(arguments::for_guest(image, disks, options, sockets.path()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting QEMU")?;
        let console = process.stdout.take().context("QEMU has no output")?;
        let mut vm = Self { process, serial: transcript::follow(console), sockets };
        vm.wait_until_ready().await?;
        Ok(vm)
    }

    /// The QMP socket for Holdfast.
    #[must_use]
    pub fn qmp_socket(&self) -> PathBuf {
        self.sockets.path().join(arguments::QMP)
    }

    /// A second QMP socket for Holdfast.
    #[must_use]
    pub fn qmp_out_of_band_socket(&self) -> PathBuf {
        self.sockets.path().join(arguments::QMP_OUT_OF_BAND)
    }

    /// The guest agent's socket for Holdfast; nothing listens there when the VM was started without an agent.
    #[must_use]
    pub fn agent_socket(&self) -> PathBuf {
        self.sockets.path().join(arguments::AGENT)
    }

    /// A second agent in the guest, for the test alone: it answers while Holdfast uses the first one or the guest is frozen.
    #[must_use]
    pub fn guest(&self) -> GuestAgent {
        GuestAgent::at(self.sockets.path().join(arguments::TEST_AGENT))
    }

    /// QEMU's process id.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.process.id()
    }

    /// What the guest has written to its serial port so far.
    #[must_use]
    pub fn serial_log(&self) -> String {
        self.serial.borrow().clone()
    }

    /// Runs a QMP command on a monitor of the test's own.
    ///
    /// # Errors
    /// When QEMU is gone, or refuses.
    pub async fn qmp(&self, command: &str, arguments: Value) -> Result<Value> {
        let mut monitor = JsonLines::connect(&self.sockets.path().join(arguments::TEST_QMP)).await?;
        monitor.next().await?.context("QEMU closed its monitor")?;
        monitor.call("qmp_capabilities", &json!({})).await?;
        monitor.call(command, &arguments).await
    }

    /// Presses the power button and waits until the guest has shut down.
    ///
    /// # Errors
    /// When it has not within three minutes.
    pub async fn shut_down(mut self) -> Result<()> {
        self.qmp("system_powerdown", json!({})).await?;
        timeout(PATIENCE, self.process.wait()).await.context("waiting for the guest to shut down")??;
        Ok(())
    }

    /// Ends the VM as a power cut would.
    ///
    /// # Errors
    /// When QEMU cannot be killed.
    pub async fn cut_power(mut self) -> Result<()> {
        self.process.kill().await.context("killing QEMU")
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let settled = self.serial.wait_for(|log| log.contains("GUEST-READY") || log.contains("GUEST-FAILED"));
        let failure = match timeout(PATIENCE, settled).await {
            Ok(Ok(log)) if log.contains("GUEST-READY") => return Ok(()),
            Ok(Ok(_)) => "the guest cannot start",
            Ok(Err(_)) => "QEMU has ended",
            Err(_) => "the guest has not started in time",
        };
        let _ = self.process.start_kill();
        let mut complaint = String::new();
        if let Some(mut errors) = self.process.stderr.take() {
            errors.read_to_string(&mut complaint).await?;
        }
        bail!("{failure}: {complaint}\n{}", self.serial_log())
    }
}
