//! VMs that QEMU runs outside Holdfast, as another tool would have started them.

mod arguments;
mod blank;
mod monitor;
#[cfg(test)]
mod tests;
mod virtio;

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
    transcript,
};

pub use arguments::acceleration;
pub use blank::{BlankDisk, BlankVm};
pub use virtio::VirtioDisk;

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
    parts: PoweredOffVm,
}

/// A guest's VM that does not run.
#[derive(Debug)]
pub struct PoweredOffVm {
    image: GuestImage,
    disks: GuestDisks,
    options: VmOptions,
    sockets: TempDir,
}

impl PoweredOffVm {
    /// Starts the guest again, on the same disks and behind the same sockets, and waits until it is up.
    ///
    /// # Errors
    /// As [`GuestVm::start`].
    pub async fn start(self) -> Result<GuestVm> {
        let arguments = arguments::for_guest(&self.image, &self.disks, &self.options, self.sockets.path());
        let mut process = spawn(&arguments)?;
        let console = process.stdout.take().context("QEMU has no output")?;
        let mut vm = GuestVm { process, serial: transcript::follow(console), parts: self };
        vm.wait_until_ready().await?;
        Ok(vm)
    }

    /// Its disks.
    #[must_use]
    pub fn disks(&self) -> &GuestDisks {
        &self.disks
    }
}

impl GuestVm {
    /// Starts a guest on these disks and waits until it is up.
    ///
    /// # Errors
    /// When QEMU or the guest does not start; with what they said.
    pub async fn start(image: &GuestImage, disks: &GuestDisks, options: &VmOptions) -> Result<Self> {
        let sockets = sockets_directory()?;
        let (image, disks, options) = (image.clone(), disks.clone(), options.clone());
        PoweredOffVm { image, disks, options, sockets }.start().await
    }

    /// The QMP socket for Holdfast.
    #[must_use]
    pub fn qmp_socket(&self) -> PathBuf {
        self.parts.sockets.path().join(arguments::QMP)
    }

    /// A second QMP socket for Holdfast.
    #[must_use]
    pub fn qmp_out_of_band_socket(&self) -> PathBuf {
        self.parts.sockets.path().join(arguments::QMP_OUT_OF_BAND)
    }

    /// The guest agent's socket for Holdfast; nothing listens there when the VM was started without an agent.
    #[must_use]
    pub fn agent_socket(&self) -> PathBuf {
        self.parts.sockets.path().join(arguments::AGENT)
    }

    /// A second agent in the guest, for the test alone: it answers while Holdfast uses the first one or the guest is frozen.
    #[must_use]
    pub fn guest(&self) -> GuestAgent {
        GuestAgent::at(self.parts.sockets.path().join(arguments::TEST_AGENT))
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
        monitor::execute(&self.parts.sockets.path().join(arguments::TEST_QMP), command, &arguments).await
    }

    /// What Holdfast has in this QEMU: nodes, exports, block jobs.
    ///
    /// # Errors
    /// As [`GuestVm::qmp`].
    pub async fn leftovers(&self) -> Result<Vec<String>> {
        monitor::names_of_holdfast(&self.parts.sockets.path().join(arguments::TEST_QMP)).await
    }

    /// The names of Holdfast's dirty bitmaps in this QEMU, sorted.
    ///
    /// # Errors
    /// As [`GuestVm::qmp`].
    pub async fn bitmaps(&self) -> Result<Vec<String>> {
        monitor::bitmaps(&self.parts.sockets.path().join(arguments::TEST_QMP)).await
    }

    /// Presses the power button and waits until the guest has shut down.
    ///
    /// # Errors
    /// When it has not within three minutes.
    pub async fn shut_down(mut self) -> Result<PoweredOffVm> {
        self.qmp("system_powerdown", json!({})).await?;
        timeout(PATIENCE, self.process.wait()).await.context("waiting for the guest to shut down")??;
        Ok(self.parts)
    }

    /// Ends the VM as a power cut would.
    ///
    /// # Errors
    /// When QEMU cannot be killed.
    pub async fn cut_power(mut self) -> Result<PoweredOffVm> {
        self.process.kill().await.context("killing QEMU")?;
        Ok(self.parts)
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

fn sockets_directory() -> Result<TempDir> {
    tempfile::Builder::new().prefix("holdfast-test-vm-").tempdir().context("making a directory for sockets")
}

fn spawn(arguments: &[String]) -> Result<Child> {
    // QEMU must not outlive a test that is killed, and dropping values does not help then.
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting QEMU")
}
