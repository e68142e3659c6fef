//! VMs without a guest: their disks are written by the test, through their devices, so that every byte is known.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use model::{ByteCount, DiskFormat};
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};
use tokio::{io::AsyncReadExt, process::Child, time::sleep};

use super::{PATIENCE, VirtioDisk, arguments, monitor, sockets_directory, spawn};
use crate::command::run;

/// How often to look whether QEMU has opened its monitor; nothing announces it.
const START_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// A disk of a VM without a guest.
#[derive(Debug, Clone)]
pub struct BlankDisk {
    name: String,
    format: DiskFormat,
    content: Vec<u8>,
    size: ByteCount,
}

impl BlankDisk {
    /// A disk whose size is that of its content.
    #[must_use]
    pub fn new(name: &str, format: DiskFormat, content: Vec<u8>) -> Self {
        let size = ByteCount(content.len() as u64);
        Self { name: name.to_owned(), format, content, size }
    }

    /// The same disk with nothing behind its content, up to this size.
    #[must_use]
    pub fn grown_to(self, size: ByteCount) -> Self {
        Self { size, ..self }
    }

    /// Creates the image file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(&self, path: &Path) -> Result<()> {
        let raw = path.with_extension("content");
        fs::write(&raw, &self.content)?;
        run(std::process::Command::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", self.format.as_str()])
            .args([&raw, path]))?;
        if self.size.0 > self.content.len() as u64 {
            let resize = ["resize", "-q", "-f", self.format.as_str()];
            run(std::process::Command::new("qemu-img").args(resize).arg(path).arg(self.size.0.to_string()))?;
        }
        fs::remove_file(raw).context("removing the content")
    }
}

/// A running QEMU without a guest. It is killed when this value is dropped, and when the process that started it dies.
#[derive(Debug)]
pub struct BlankVm {
    disks: Vec<BlankDisk>,
    directory: TempDir,
    process: Child,
}

impl BlankVm {
    /// Starts a QEMU on new disks.
    ///
    /// # Errors
    /// When a disk cannot be made or QEMU does not start; with what it said.
    pub async fn start(disks: &[BlankDisk]) -> Result<Self> {
        let directory = sockets_directory()?;
        for disk in disks {
            disk.create(&image_path(directory.path(), &disk.name))?;
        }
        let process = start(directory.path(), disks).await?;
        Ok(Self { disks: disks.to_vec(), directory, process })
    }

    /// Starts a QEMU on a new disk that a [`VirtioDisk`] writes to, as a guest without any cost of its own would.
    ///
    /// # Errors
    /// As [`BlankVm::start`].
    pub async fn start_driven(disk: BlankDisk) -> Result<(Self, VirtioDisk)> {
        /// What a PC's firmware has at least, in bytes.
        const FIRMWARE_BYTES: usize = 64 << 10;
        /// The instruction `hlt` of x86.
        const HLT: u8 = 0xf4;

        let directory = sockets_directory()?;
        let path = image_path(directory.path(), &disk.name);
        disk.create(&path)?;
        fs::write(directory.path().join(arguments::HALT), vec![HLT; FIRMWARE_BYTES])?;
        let memory = NamedTempFile::new_in("/dev/shm").context("making a file for the VM's memory")?;
        let arguments = arguments::driven(&disk.name, disk.format, &path, memory.path(), directory.path());
        let process = start_with(directory.path(), &arguments).await?;
        let driver = VirtioDisk::attach(&directory.path().join(arguments::QTEST), memory.path())?;
        Ok((Self { disks: vec![disk], directory, process }, driver))
    }

    /// Ends the VM as a power cut would.
    ///
    /// # Errors
    /// When QEMU cannot be killed.
    pub async fn cut_power(&mut self) -> Result<()> {
        self.process.kill().await.context("killing QEMU")
    }

    /// Ends QEMU in order: it closes its images.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn quit(&mut self) -> Result<()> {
        self.qmp("quit", json!({})).await?;
        self.process.wait().await.context("waiting for QEMU to end").map(drop)
    }

    /// Starts QEMU again after it has ended, with these disks: those that are new come with their content, the others as
    /// they were left.
    ///
    /// # Errors
    /// As [`BlankVm::start`].
    pub async fn start_again(&mut self, disks: &[BlankDisk]) -> Result<()> {
        for disk in disks {
            let path = self.image(&disk.name);
            if !path.exists() {
                disk.create(&path)?;
            }
        }
        self.disks = disks.to_vec();
        self.process = start(self.directory.path(), disks).await?;
        Ok(())
    }

    /// The QMP socket for Holdfast.
    #[must_use]
    pub fn qmp_socket(&self) -> PathBuf {
        self.directory.path().join(arguments::QMP)
    }

    /// A second QMP socket for Holdfast.
    #[must_use]
    pub fn qmp_out_of_band_socket(&self) -> PathBuf {
        self.directory.path().join(arguments::QMP_OUT_OF_BAND)
    }

    /// The image of a disk.
    #[must_use]
    pub fn image(&self, disk: &str) -> PathBuf {
        image_path(self.directory.path(), disk)
    }

    /// Runs a QMP command on a monitor of the test's own.
    ///
    /// # Errors
    /// When QEMU is gone, or refuses.
    pub async fn qmp(&self, command: &str, arguments: Value) -> Result<Value> {
        monitor::execute(&self.test_socket(), command, &arguments).await
    }

    /// The names of Holdfast's dirty bitmaps in this QEMU, sorted.
    ///
    /// # Errors
    /// As [`BlankVm::qmp`].
    pub async fn bitmaps(&self) -> Result<Vec<String>> {
        monitor::bitmaps(&self.test_socket()).await
    }

    /// What Holdfast has in this QEMU: nodes, exports, block jobs.
    ///
    /// # Errors
    /// As [`BlankVm::qmp`].
    pub async fn leftovers(&self) -> Result<Vec<String>> {
        monitor::names_of_holdfast(&self.test_socket()).await
    }

    /// Writes bytes to a disk through its device, as a guest would. Whole sectors only.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub async fn write(&self, disk: &str, offset_bytes: usize, content: &[u8]) -> Result<()> {
        let blocks = self.qmp("query-block", json!({})).await?;
        let device = blocks
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|block| block["qdev"].as_str())
            .find(|device| device.split('/').any(|part| part == disk))
            .with_context(|| format!("there is no disk {disk}"))?;
        let source = self.directory.path().join("content");
        fs::write(&source, content)?;
        let order = format!("write -s {} {offset_bytes} {}", source.display(), content.len());
        let line = json!({ "command-line": format!("qemu-io -d {device} \"{order}\"") });
        let refusal = self.qmp("human-monitor-command", line).await?;
        ensure!(refusal == json!(""), "writing to {disk}: {refusal}");
        Ok(())
    }

    fn test_socket(&self) -> PathBuf {
        self.directory.path().join(arguments::TEST_QMP)
    }
}

fn image_path(directory: &Path, disk: &str) -> PathBuf {
    directory.join(format!("{disk}.image"))
}

async fn start(directory: &Path, disks: &[BlankDisk]) -> Result<Child> {
    let disks: Vec<_> = disks
        .iter()
        .map(|disk| (disk.name.as_str(), disk.format, image_path(directory, &disk.name)))
        .collect();
    start_with(directory, &arguments::without_guest(&disks, directory)).await
}

async fn start_with(directory: &Path, arguments: &[String]) -> Result<Child> {
    let mut process = spawn(arguments)?;
    let socket = directory.join(arguments::TEST_QMP);
    let begun = Instant::now();
    while monitor::execute(&socket, "query-status", &json!({})).await.is_err() {
        if process.try_wait()?.is_some() || begun.elapsed() > PATIENCE {
            let mut complaint = String::new();
            process.start_kill().ok();
            if let Some(mut errors) = process.stderr.take() {
                errors.read_to_string(&mut complaint).await?;
            }
            anyhow::bail!("QEMU does not start: {complaint}");
        }
        sleep(START_CHECK_INTERVAL).await;
    }
    Ok(process)
}
