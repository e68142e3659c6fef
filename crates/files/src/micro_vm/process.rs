//! QEMU as a process, watched by a thread of its own: the process dies when that thread does.

use std::{
    collections::VecDeque,
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::{oneshot, watch};

use super::{arguments, arguments::Machine, config::Config};
use crate::{Error, ErrorKind, Result, appliance, path::display};

/// Bytes of what the machine said last that are kept.
const CONSOLE_BYTES: usize = 8 << 10;

/// A QEMU. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    handle: OwnedFd,
    console: Arc<Mutex<VecDeque<u8>>>,
    ended: watch::Receiver<bool>,
}

impl Process {
    /// Starts QEMU, in limits. `directory` is for its overlays, which have no names.
    pub(super) async fn start(config: &Config, machine: &Machine<'_>, directory: &Path) -> Result<Self> {
        let missing =
            |error| Error::new(ErrorKind::Failed, "the helper's machine does not start").with_source(error);
        let mut command = Command::new(config.helper_command.first().cloned().unwrap_or_default());
        command
            .args(config.helper_command.get(1..).unwrap_or_default())
            .args(appliance::launch_arguments(machine.memory_bytes, config.qemu_program.as_os_str()))
            .args(arguments::build(machine))
            .env("TMPDIR", directory)
            .stdin(Stdio::null());
        let console = Arc::new(Mutex::new(VecDeque::new()));
        let (started, start) = oneshot::channel();
        let (end, ended) = watch::channel(false);
        let kept = Arc::clone(&console);
        let watcher = thread::Builder::new().name("files-vm".to_owned());
        let watch = move || watch_over(command, started, &kept, &end);
        watcher.spawn(watch).map_err(missing)?;
        let handle =
            start.await.unwrap_or_else(|_| Err(io::Error::other("its watcher ended"))).map_err(missing)?;
        Ok(Self { handle, console, ended })
    }

    /// Returns once it has ended.
    pub(super) async fn ended(&mut self) {
        // A watcher that is gone has ended it.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }

    /// Why it ended, as far as it said.
    pub(super) fn failure(&self) -> Error {
        let console = self.console();
        if console.contains("No such file or directory") && !console.contains("Linux version") {
            return Error::new(
                ErrorKind::ToolMissing,
                format!("the helper's machine does not start: {console}"),
            )
            .with_guidance("install QEMU (Debian and Ubuntu: apt install qemu-system-x86)");
        }
        Error::new(ErrorKind::Gone, format!("the helper's machine has ended: {console}"))
    }

    /// What it said last, as one line.
    pub(super) fn console(&self) -> String {
        let console: Vec<u8> =
            self.console.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        display(console.trim_ascii())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is as good; the watcher takes note of its end.
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
    }
}

fn watch_over(
    mut command: Command,
    started: oneshot::Sender<io::Result<OwnedFd>>,
    console: &Mutex<VecDeque<u8>>,
    end: &watch::Sender<bool>,
) {
    let start = || {
        let (reader, writer) = io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        let child = command.spawn()?;
        // The command holds the pipe's other end.
        drop(command);
        let pid = Pid::from_child(&child);
        Ok((child, pidfd_open(pid, PidfdFlags::empty())?, reader))
    };
    let (mut child, mut reader) = match start() {
        Ok((child, handle, reader)) => {
            if started.send(Ok(handle)).is_err() {
                // Nobody waits for it any more; the next line but one reaps it.
                let mut child = child;
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            (child, reader)
        }
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = reader.read(&mut buffer) {
        let mut console = console.lock().unwrap_or_else(PoisonError::into_inner);
        console.extend(&buffer[..count]);
        let excess = console.len().saturating_sub(CONSOLE_BYTES);
        console.drain(..excess);
    }
    let _ = child.wait();
    let _ = end.send(true);
}
