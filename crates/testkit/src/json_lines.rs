//! The framing that QMP and the guest agent share: one JSON document a line.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

/// How long a guest under emulation may take to answer.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct JsonLines {
    stream: BufReader<UnixStream>,
}

impl JsonLines {
    pub(crate) async fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .await
            .with_context(|| format!("connecting to {}", socket.display()))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub(crate) async fn send(&mut self, document: &Value) -> Result<()> {
        self.stream.write_all(format!("{document}\n").as_bytes()).await.context("sending a command")
    }

    /// The next document; none once the other side has closed.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>> {
        let mut line = Vec::new();
        timeout(ANSWER_LIMIT, self.stream.read_until(b'\n', &mut line))
            .await
            .context("waiting for an answer")??;
        if line.is_empty() {
            return Ok(None);
        }
        // The agent starts the answer to its synchronisation with 0xff.
        let text = line.strip_prefix(&[0xff]).unwrap_or(&line);
        serde_json::from_slice(text).map(Some).context("reading an answer")
    }

    /// Sends a command and waits for its result, passing over events.
    pub(crate) async fn call(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        self.send(&serde_json::json!({ "execute": command, "arguments": arguments })).await?;
        loop {
            let Some(mut answer) = self.next().await? else { bail!("{command}: the connection was closed") };
            if let Some(error) = answer.get("error") {
                bail!("{command}: {error}");
            }
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
        }
    }
}
