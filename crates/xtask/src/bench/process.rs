//! What processes use: processor time and memory, by Linux's `/proc`.

use std::{fs, process::Stdio, time::Instant};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::sample::Sample;

/// The unit of processor time in `/proc`, the same on every architecture that QEMU runs guests on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process of somebody else's making.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    id: u32,
}

impl Process {
    /// The process with this id.
    pub fn new(id: u32) -> Self {
        Self { id }
    }

    /// Processor time so far, in seconds, children that have ended included.
    pub fn cpu_seconds(self) -> Result<f64> {
        // utime, stime, cutime, cstime
        cpu_seconds(&self.id.to_string(), &[11, 12, 13, 14])
    }

    /// Memory in use, in MiB.
    pub fn memory_mib(self) -> Result<f64> {
        self.status_mib("VmRSS:")
    }

    /// Forgets the peak of the memory in use.
    pub fn reset_peak_memory(self) -> Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.id), "5").context("resetting the peak of memory")
    }

    /// The most memory that was in use since the start or the last reset, in MiB.
    pub fn peak_memory_mib(self) -> Result<f64> {
        self.status_mib("VmHWM:")
    }

    fn status_mib(self, field: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).context("asking for memory")?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("the kernel hides memory")?;
        Ok(kib.trim().parse::<f64>()? / 1024.0)
    }
}

/// Runs a command that must succeed.
pub async fn measure(command: &mut Command) -> Result<Sample> {
    // cutime, cstime
    let children = || cpu_seconds("self", &[13, 14]);
    let (cpu_before, started) = (children()?, Instant::now());
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let wall = started.elapsed();
    let output = output.with_context(|| format!("running {:?}", command.as_std()))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{:?} ended with {}: {complaint}", command.as_std(), output.status);
    Ok(Sample { wall, cpu_seconds: children()? - cpu_before })
}

/// The sum of these fields of `/proc/PROCESS/stat`, counted from the one behind the program's name.
fn cpu_seconds(process: &str, fields: &[usize]) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("asking for processor time")?;
    let (_, behind_name) = stat.rsplit_once(") ").context("the kernel hides processor time")?;
    let numbers: Vec<&str> = behind_name.split(' ').collect();
    let ticks = fields.iter().filter_map(|&field| numbers.get(field)?.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / TICKS_PER_SECOND)
}
