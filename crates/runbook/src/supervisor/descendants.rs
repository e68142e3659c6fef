//! The processes below this one, as `/proc` tells them.

use std::{collections::HashMap, fs};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What is needed of `/proc/PID/stat` (proc_pid_stat(5)): fields 3, 4 and 22.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: i32,
    is_zombie: bool,
    /// Tells a process from a later one of the same number.
    started_ticks: u64,
}

/// Sends a signal to all of them.
pub(super) fn signal(signal: Signal) {
    for (pid, stat) in all() {
        // Held by its descriptor, the number cannot become another process's between the look and the signal.
        let Some(descriptor) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            continue;
        };
        if read(pid).is_some_and(|now| now.started_ticks == stat.started_ticks) {
            // It may have ended.
            let _ = pidfd_send_signal(descriptor, signal);
        }
    }
}

fn all() -> Vec<(i32, Stat)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let stats: HashMap<i32, Stat> = pids.filter_map(|pid| Some((pid, read(pid)?))).collect();
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let is_below = |mut pid: i32| {
        // A tree that changes while it is read may seem to have a loop.
        for _ in 0..stats.len() {
            match stats.get(&pid) {
                Some(stat) if stat.parent == own => return true,
                Some(stat) => pid = stat.parent,
                None => return false,
            }
        }
        false
    };
    let living = stats.iter().filter(|(pid, stat)| !stat.is_zombie && is_below(**pid));
    living.map(|(pid, stat)| (*pid, *stat)).collect()
}

fn read(pid: i32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let started_ticks = fields.nth(17)?.parse().ok()?;
    Some(Stat { parent, is_zombie: state == "Z" || state == "X", started_ticks })
}
