//! One connection to the agent's channel.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde_json::{Map, Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time,
};

use super::{Error, ErrorKind, Result};
use crate::lines::LineReader;

/// The longest line taken from an agent, which any program in the guest can pretend to be.
const LINE_LIMIT_BYTES: usize = 1 << 20;
/// Never begins a JSON text; makes an agent drop what it has read of an unfinished line.
const RESET: u8 = 0xff;

/// A connection to a guest agent.
#[derive(Debug)]
pub(crate) struct Agent {
    write: OwnedWriteHalf,
    lines: LineReader<OwnedReadHalf>,
    broken: bool,
}

impl Agent {
    /// Connects and waits until the agent answers to this connection, not to one before it.
    ///
    /// # Errors
    /// [`ErrorKind::NoChannel`] when QEMU does not listen, [`ErrorKind::Silent`] when nothing answers within `timeout`.
    pub(crate) async fn connect(path: &Path, timeout: Duration) -> Result<Self> {
        let connected = time::timeout(timeout, async {
            let stream = UnixStream::connect(path)
                .await
                .map_err(|source| Error::from_io("the guest agent's channel is not there", source))?;
            let (read, write) = stream.into_split();
            let mut agent = Self { write, lines: LineReader::new(read, LINE_LIMIT_BYTES), broken: false };
            agent.synchronise().await?;
            Ok(agent)
        });
        connected.await.unwrap_or_else(|_| Err(silent("to guest-sync-delimited", timeout)))
    }

    async fn synchronise(&mut self) -> Result<()> {
        let id = next_sync_id();
        let mut line = vec![RESET];
        line.extend(
            json!({"execute": "guest-sync-delimited", "arguments": {"id": id}}).to_string().as_bytes(),
        );
        line.push(b'\n');
        self.write
            .write_all(&line)
            .await
            .map_err(|source| Error::from_io("the agent's channel broke", source))?;
        loop {
            let line = self.line().await?;
            // The answer comes behind a reset byte; before it there may be anything.
            let start = line.iter().rposition(|&byte| byte == RESET).map_or(0, |place| place + 1);
            let answer: Value = serde_json::from_slice(&line[start..]).unwrap_or_default();
            if answer["return"].as_u64() == Some(id) {
                return Ok(());
            }
        }
    }

    /// Runs a command and returns what it returned.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] with the agent's words; [`ErrorKind::Silent`] after `timeout`, and from then on always.
    pub(crate) async fn execute(
        &mut self,
        command: &str,
        arguments: Value,
        timeout: Duration,
    ) -> Result<Value> {
        if self.broken {
            return Err(Error::new(ErrorKind::Silent, "an earlier command of this connection had no answer"));
        }
        self.broken = true; // until an answer has come, also when this future is dropped
        let mut answer = match time::timeout(timeout, self.exchange(command, arguments)).await {
            Ok(answer) => answer?,
            Err(_) => return Err(silent(&format!("to {command}"), timeout)),
        };
        self.broken = false;
        match answer.get("error") {
            None => Ok(answer.remove("return").unwrap_or_default()),
            Some(error) => {
                let words = error["desc"].as_str().unwrap_or("refused without a reason");
                Err(Error::new(ErrorKind::Refused, format!("{command}: {words}")))
            }
        }
    }

    async fn exchange(&mut self, command: &str, arguments: Value) -> Result<Map<String, Value>> {
        self.send(command, arguments).await?;
        let line = self.line().await?;
        serde_json::from_slice(&line).map_err(|_| {
            Error::new(ErrorKind::Protocol, format!("{command}: the answer is not a JSON object"))
        })
    }

    async fn send(&mut self, command: &str, arguments: Value) -> Result<()> {
        let mut line = json!({"execute": command, "arguments": arguments}).to_string().into_bytes();
        line.push(b'\n');
        self.write
            .write_all(&line)
            .await
            .map_err(|source| Error::from_io("the agent's channel broke", source))
    }

    async fn line(&mut self) -> Result<bytes::Bytes> {
        let line =
            self.lines.next().await.map_err(|source| Error::from_io("the agent's channel broke", source))?;
        line.ok_or_else(|| Error::new(ErrorKind::NoChannel, "the agent's channel was closed"))
    }

    /// The agent's version, as a sign of life.
    pub(crate) async fn version(&mut self, timeout: Duration) -> Result<String> {
        let info = self.execute("guest-info", json!({}), timeout).await?;
        Ok(info["version"].as_str().unwrap_or("of unknown version").chars().take(64).collect())
    }

    /// Whether the guest is Windows. `false` when the agent cannot tell.
    pub(crate) async fn is_windows(&mut self, timeout: Duration) -> bool {
        let info = self.execute("guest-get-osinfo", json!({}), timeout).await;
        info.is_ok_and(|info| info["id"] == "mswindows")
    }

    /// Asks the guest to power off. Agents do not answer this command when they obey it.
    pub(crate) async fn shutdown(&mut self, timeout: Duration) -> Result<()> {
        match self.execute("guest-shutdown", json!({"mode": "powerdown"}), timeout).await {
            Err(error) if matches!(error.kind(), ErrorKind::Silent | ErrorKind::NoChannel) => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

fn silent(what: &str, timeout: Duration) -> Error {
    Error::new(
        ErrorKind::Silent,
        format!("the guest agent did not answer {what} within {} ms", timeout.as_millis()),
    )
}

/// A number that no earlier connection of any process can be waiting for.
fn next_sync_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    u64::from(std::process::id()) << 24 | NEXT.fetch_add(1, Ordering::Relaxed) & 0x00ff_ffff
}
