//! Host scripts around a capture.

use std::{process::Stdio, time::Duration};

use hypervisor::VmAccess;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{Error, ErrorKind, Result, error::Context as _};

/// A script that has not ended by then is killed with everything that it started.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// How much of a script's error output is kept for the message.
const OUTPUT_LIMIT_BYTES: usize = 4096;

/// How long to wait for the end of a failed script's error output.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(1);

/// Where in a capture a script runs; also its only argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScriptMoment {
    Pre,
    Post,
}

impl ScriptMoment {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pre => "pre",
            Self::Post => "post",
        }
    }
}

/// Runs a program, never through a shell, with the moment as its argument and the VM in its environment.
pub(super) async fn run(program: &str, moment: ScriptMoment, vm: &VmAccess) -> Result<()> {
    let what = format!("the {}-script {program:?}", moment.as_str());
    let mut child = Command::new(program)
        .arg(moment.as_str())
        .env("HOLDFAST_VM_NAME", vm.name.as_str())
        .env("HOLDFAST_VM_ID", vm.vm_id.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context(format!("cannot start {what}"))?;
    let group = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));

    let output = child.stderr.take().map(|stderr| AbortOnDropHandle::new(tokio::spawn(start_of(stderr))));
    let status = match timeout(TIME_LIMIT, child.wait()).await {
        Ok(status) => status.context(format!("cannot wait for {what}"))?,
        Err(_) => {
            // The group is the script's own; it may be gone already.
            group.map(|group| rustix::process::kill_process_group(group, rustix::process::Signal::KILL));
            let limit = TIME_LIMIT.as_secs();
            return Err(Error::new(
                ErrorKind::Failed,
                format!("{what} did not end within {limit} seconds and was killed"),
            ));
        }
    };
    if status.success() {
        return Ok(());
    }
    // What the script left in the background may hold its error output open for ever.
    let output = match output.map(|output| timeout(OUTPUT_PATIENCE, output)) {
        Some(output) => output.await.ok().and_then(|output| output.ok()).unwrap_or_default(),
        None => Vec::new(),
    };
    let output = String::from_utf8_lossy(&output);
    Err(Error::new(ErrorKind::Failed, format!("{what} ended with {status}: {}", output.trim())))
}

/// Reads output to its end and keeps its start, so that a script that says much is never held up.
async fn start_of(mut output: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut start = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        let wanted = length.min(OUTPUT_LIMIT_BYTES - start.len());
        start.extend_from_slice(&buffer[..wanted]);
    }
    start
}
