//! Programs inside the guest.

use std::time::Duration;

use hypervisor::GuestProgram;
use serde_json::{Value, json};
use tokio::time::{self, Instant};

use super::{Agent, Error, ErrorKind, Result, base64};

/// How often to ask whether a program has ended; the agent has no event for it.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Where programs of a guest are looked for that is no Windows, as its shells do without being told.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a program in the guest left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExecOutput {
    /// Its exit code; none when a signal ended it.
    pub(crate) exit_code: Option<i64>,
    /// What it wrote to standard output.
    pub(crate) stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub(crate) stderr: Vec<u8>,
}

impl Agent {
    /// Runs a program in the guest and waits for it.
    ///
    /// # Errors
    /// [`ErrorKind::Silent`] when it has not ended within `timeout`; it goes on running. [`ErrorKind::Refused`] while the
    /// file systems are frozen, and where the agent's administrator forbids it; [`ErrorKind::Protocol`] when it wrote more
    /// than a line of the agent's may hold, 1 MiB in base 64.
    pub(crate) async fn exec(&mut self, program: &GuestProgram, timeout: Duration) -> Result<ExecOutput> {
        let deadline = Instant::now() + timeout;
        let (program, mut order) = order(program);
        // An agent that is told of variables gives a program those and no others.
        let has_environment = order["env"].is_array();
        if has_environment && !self.is_windows(timeout).await {
            order["env"].as_array_mut().into_iter().for_each(|env| env.push(PATH.into()));
        }
        let started = self.execute("guest-exec", order, timeout).await?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(
                    ErrorKind::Silent,
                    format!("{program} has not ended within {timeout:?}"),
                ));
            }
            let status = self.execute("guest-exec-status", json!({"pid": started["pid"]}), left).await?;
            if status["exited"] == true {
                let output = |name: &str| status[name].as_str().map_or(Some(Vec::new()), base64::decode);
                let bad = || Error::new(ErrorKind::Protocol, "guest-exec-status: not base 64");
                return Ok(ExecOutput {
                    exit_code: status["exitcode"].as_i64(),
                    stdout: output("out-data").ok_or_else(bad)?,
                    stderr: output("err-data").ok_or_else(bad)?,
                });
            }
            time::sleep(POLL_INTERVAL.min(left)).await;
        }
    }
}

/// The program's name, and what the agent is asked for.
fn order(program: &GuestProgram) -> (&str, Value) {
    let (name, arguments) = program.command.split_first().map_or(("", &[][..]), |(name, rest)| (name, rest));
    let mut order = json!({"path": name, "arg": arguments, "capture-output": true});
    if !program.environment.is_empty() {
        order["env"] = program.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    }
    if !program.input.is_empty() {
        order["input-data"] = base64::encode(program.input.as_bytes()).into();
    }
    (name, order)
}
