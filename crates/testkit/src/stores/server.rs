//! A server's process, from its first word to its end.

use std::{net::TcpListener, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::transcript;

/// What a server may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Tries to find a port that is still free when the server asks for it.
const TRIES: u32 = 5;

/// A server that listens. It is killed when this value is dropped, and when the process that started it dies.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) port: u16,
    _process: Child,
}

impl Server {
    /// Starts a program on a port that nobody else has, and waits until it says that it is ready. `arguments` are those
    /// of `setpriv`, for this port.
    pub(super) async fn start(ready: &str, arguments: impl Fn(u16) -> Vec<String>) -> Result<Self> {
        let mut complaint = String::new();
        for _ in 0..TRIES {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            match start_on(port, ready, &arguments(port)).await? {
                Ok(process) => return Ok(Self { port, _process: process }),
                Err(transcript) => complaint = transcript,
            }
        }
        bail!("the server does not start: {complaint}")
    }
}

/// Starts a program; when it ends before it is ready, what it said.
async fn start_on(
    port: u16,
    ready: &str,
    arguments: &[String],
) -> Result<std::result::Result<Child, String>> {
    let mut process = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {arguments:?}"))?;
    let mut output = transcript::follow(process.stdout.take().context("the server has no output")?);
    let mut errors = transcript::follow(process.stderr.take().context("the server has no errors")?);
    let is_ready = |said: &String| said.contains(ready);
    let heard = async {
        tokio::select! {
            Ok(_) = output.wait_for(is_ready) => true,
            Ok(_) = errors.wait_for(is_ready) => true,
            else => false,
        }
    };
    let is_up = timeout(PATIENCE, heard)
        .await
        .with_context(|| format!("waiting for {arguments:?} to listen on port {port}"))?;
    let transcript = || format!("{}{}", *output.borrow(), *errors.borrow());
    Ok(if is_up { Ok(process) } else { Err(transcript()) })
}
