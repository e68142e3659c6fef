//! Small files of the guest.

use std::time::Duration;

use serde_json::json;

use super::{Agent, Error, ErrorKind, Result, base64};

impl Agent {
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
