//! What processes use: processor time and memory, by Linux's `/proc`.

use std::{
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokio::{process::Command, time::interval};

use super::sample::Sample;

/// The unit of processor time in `/proc`, the same on every architecture that QEMU runs guests on.
const TICKS_PER_SECOND: f64 = 100.0;

/// How often the memory of a command is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

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

    /// What it has read so far from files, in MiB: from the page cache as well as from disks.
    pub fn read_mib(self) -> Result<f64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.id)).context("asking what was read")?;
        let bytes =
            io.lines().find_map(|line| line.strip_prefix("rchar:")).context("the kernel hides reads")?;
        Ok(bytes.trim().parse::<f64>()? / f64::from(1 << 20))
    }

    fn status_mib(self, field: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).context("asking for memory")?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("the kernel hides memory")?;
        Ok(kib.trim().parse::<f64>()? / 1024.0)
    }
}

/// Runs a command that must succeed. Its memory is looked at every few milliseconds: a peak in its very last moment is missed.
pub async fn measure(command: &mut Command) -> Result<Sample> {
    let described = format!("{:?}", command.as_std());
    let (cpu_before, started) = (children_cpu_seconds()?, Instant::now());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().with_context(|| format!("running {described}"))?;
    let process = child.id().map(Process::new);
    let mut peak_memory_mib = 0_f64;
    let mut looks = interval(LOOK_EVERY);
    let output = child.wait_with_output();
    tokio::pin!(output);
    let output = loop {
        tokio::select! {
            output = &mut output => break output.with_context(|| format!("running {described}"))?,
            // A process that has just ended has no memory any more.
            _ = looks.tick() => if let Some(Ok(peak)) = process.map(Process::peak_memory_mib) {
                peak_memory_mib = peak_memory_mib.max(peak);
            },
        }
    };
    let wall = started.elapsed();
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{described} ended with {}: {complaint}", output.status);
    Ok(Sample { wall, cpu_seconds: children_cpu_seconds()? - cpu_before, peak_memory_mib })
}

/// Processor time of this process's children that have ended, in seconds.
pub fn children_cpu_seconds() -> Result<f64> {
    // cutime, cstime
    cpu_seconds("self", &[13, 14])
}

/// Processor time of this thread, in seconds.
pub fn thread_cpu_seconds() -> Result<f64> {
    let times = fs::read_to_string("/proc/thread-self/schedstat").context("asking for processor time")?;
    let nanoseconds = times.split(' ').next().and_then(|number| number.parse::<f64>().ok());
    Ok(nanoseconds.context("the kernel hides processor time")? / 1e9)
}

/// Processor time of everything on this machine since it was started, in seconds.
pub fn machine_cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat").context("asking for processor time")?;
    let line = stat.lines().next().context("the kernel hides processor time")?;
    let ticks: Vec<f64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    // All but the fourth and fifth, which count idle time.
    let busy = ticks.iter().enumerate().filter(|(place, _)| !matches!(place, 3 | 4 | 8..));
    Ok(busy.map(|(_, ticks)| ticks).sum::<f64>() / TICKS_PER_SECOND)
}

/// The sum of these fields of `/proc/PROCESS/stat`, counted from the one behind the program's name.
fn cpu_seconds(process: &str, fields: &[usize]) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("asking for processor time")?;
    let (_, behind_name) = stat.rsplit_once(") ").context("the kernel hides processor time")?;
    let numbers: Vec<&str> = behind_name.split(' ').collect();
    let ticks = fields.iter().filter_map(|&field| numbers.get(field)?.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / TICKS_PER_SECOND)
}
