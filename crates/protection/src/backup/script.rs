//! Host scripts around a capture.

use std::{process::Stdio, time::Duration};

use hypervisor::VmAccess;
use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};

use crate::{Error, ErrorKind, Result, error::Context as _};

/// A script that has not ended by then is killed with everything that it started.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// How much of a script's error output is kept for the message.
const OUTPUT_LIMIT_BYTES: u64 = 4096;

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

    let mut output = Vec::new();
    let ended = timeout(TIME_LIMIT, async {
        if let Some(stderr) = child.stderr.take() {
            stderr.take(OUTPUT_LIMIT_BYTES).read_to_end(&mut output).await?;
        }
        child.wait().await
    })
    .await;
    let status = match ended {
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
    let output = String::from_utf8_lossy(&output);
    Err(Error::new(ErrorKind::Failed, format!("{what} ended with {status}: {}", output.trim())))
}
