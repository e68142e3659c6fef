//! Files of the guest.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Agent, Error, ErrorKind, Result, base64};

/// A file that is open in the guest.
#[derive(Debug)]
pub(crate) struct OpenFile(Value);

impl Agent {
    /// Opens a file, in a mode of C's `fopen`.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when it cannot be opened, with the guest's reason.
    pub(crate) async fn open(&mut self, path: &str, mode: &str, timeout: Duration) -> Result<OpenFile> {
        let order = json!({"path": path, "mode": mode});
        self.execute("guest-file-open", order, timeout).await.map(OpenFile)
    }

    /// Writes bytes where the file is, all of them.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the guest has no space, say.
    pub(crate) async fn write(&mut self, file: &OpenFile, bytes: &[u8], timeout: Duration) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let order = json!({"handle": file.0, "buf-b64": base64::encode(rest)});
            let written = self.execute("guest-file-write", order, timeout).await?;
            let count = written["count"].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
            rest = rest.get(count..).filter(|_| count > 0).ok_or_else(|| {
                Error::new(
                    ErrorKind::Protocol,
                    "guest-file-write: nothing was written, or more than there was",
                )
            })?;
        }
        Ok(())
    }

    /// Goes to an offset from the file's start.
    pub(crate) async fn seek(&mut self, file: &OpenFile, offset_bytes: u64, timeout: Duration) -> Result<()> {
        let order = json!({"handle": file.0, "offset": offset_bytes, "whence": 0});
        self.execute("guest-file-seek", order, timeout).await.map(drop)
    }

    /// Hands what was written to the guest's system, and closes the file.
    pub(crate) async fn close(&mut self, file: OpenFile, timeout: Duration) -> Result<()> {
        let flushed = self.execute("guest-file-flush", json!({"handle": file.0}), timeout).await;
        let closed = self.execute("guest-file-close", json!({"handle": file.0}), timeout).await;
        flushed.and(closed).map(drop)
    }

    /// Whether a command is there and allowed; true of agents that cannot tell.
    pub(crate) async fn allows(&mut self, commands: &[&str], timeout: Duration) -> Result<bool> {
        let info = self.execute("guest-info", json!({}), timeout).await?;
        let Some(known) = info["supported_commands"].as_array() else { return Ok(true) };
        let is_allowed =
            |name: &&str| known.iter().any(|known| known["name"] == *name && known["enabled"] == true);
        Ok(commands.iter().all(is_allowed))
    }

    /// The first `limit_bytes` of a file in the guest.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when there is no such file, or when the agent's administrator forbids reading files.
    pub(crate) async fn read_file(
        &mut self,
        path: &str,
        limit_bytes: u32,
        timeout: Duration,
    ) -> Result<Vec<u8>> {
        let handle = self.execute("guest-file-open", json!({"path": path, "mode": "r"}), timeout).await?;
        let read =
            self.execute("guest-file-read", json!({"handle": handle, "count": limit_bytes}), timeout).await;
        let closed = self.execute("guest-file-close", json!({"handle": handle}), timeout).await;
        let (read, _) = (read?, closed?);
        read["buf-b64"]
            .as_str()
            .and_then(base64::decode)
            .ok_or_else(|| Error::new(ErrorKind::Protocol, "guest-file-read: not base 64"))
    }
}
