//! Processes that outlive the server on purpose: VMs, the guards of their captures, and taps.

use std::{fs, path::Path};

use rustix::process::{Pid, Signal, kill_process};

/// Kills each of our own processes whose command line names this directory. Best effort: it runs while a test fails, too.
pub(super) fn kill_all_that_name(directory: &Path) {
    let Ok(processes) = fs::read_dir("/proc") else { return };
    let directory = directory.as_os_str().as_encoded_bytes();
    for process in processes.flatten() {
        let number = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        // A process that the server started by its own file is called after the link.
        let is_ours = (name.starts_with("qemu-") || name.starts_with("holdfast") || name.trim() == "exe")
            && command.windows(directory.len()).any(|part| part == directory);
        if let Some(number) = number.filter(|_| is_ours) {
            kill_process(number, Signal::KILL).ok();
        }
    }
}
