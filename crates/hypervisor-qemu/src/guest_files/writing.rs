//! The agent's own commands for files.

use hypervisor::{GuestContent, GuestItemOutcome, Result};

use super::{AGENT_TIMEOUT, Guest, WRITE_TIMEOUT, failure};
use crate::agent::{self, OpenFile};

/// Bytes of one write: the agent takes lines of megabytes, but reads them 4 KiB at a time.
const WRITE_BYTES: usize = 256 << 10;

/// What the system of a Unix guest says of a file that is not there.
const NO_FILE: &str = "No such file or directory";

/// Why a file is not in the guest.
enum Unwritten {
    /// It could not be read, or written; the guest goes on.
    Reason(String),
    /// The agent does not answer.
    Gone(agent::Error),
}

impl From<agent::Error> for Unwritten {
    fn from(error: agent::Error) -> Self {
        match error.kind() {
            agent::ErrorKind::Refused => Self::Reason(error.to_string()),
            _ => Self::Gone(error),
        }
    }
}

impl Guest {
    /// Whether something is at a path, as far as it can be opened. What cannot be told is taken to be there.
    pub(super) async fn exists(&mut self, path: &str) -> Result<bool> {
        match self.agent.open(path, "r", AGENT_TIMEOUT).await {
            Ok(file) => {
                // It was opened to be looked at only.
                let closed = self.agent.close(file, AGENT_TIMEOUT).await;
                match closed {
                    Err(error) if error.kind() != agent::ErrorKind::Refused => {
                        Err(failure(&self.name, error))
                    }
                    _ => Ok(true),
                }
            }
            // Windows says so in the language of its user.
            Err(error) if error.kind() == agent::ErrorKind::Refused => {
                Ok(!self.abilities.is_windows && !error.to_string().contains(NO_FILE))
            }
            Err(error) => Err(failure(&self.name, error)),
        }
    }

    /// Writes a file where it belongs, for want of a program that could move it there.
    pub(super) async fn write_in_place(
        &mut self,
        path: &str,
        content: (&dyn GuestContent, usize),
        size_bytes: u64,
        overwrite: bool,
    ) -> Result<GuestItemOutcome> {
        if !overwrite && self.exists(path).await? {
            return Ok(GuestItemOutcome::Kept);
        }
        Ok(match self.write_file(path, content, size_bytes).await? {
            None => {
                GuestItemOutcome::Written { lost: ["owner", "mode", "times"].map(str::to_owned).to_vec() }
            }
            Some(reason) => {
                GuestItemOutcome::Failed { reason: format!("{reason}; what is there of it is not whole") }
            }
        })
    }

    /// Writes a file; returns why it is not whole.
    pub(super) async fn write_file(
        &mut self,
        path: &str,
        content: (&dyn GuestContent, usize),
        size_bytes: u64,
    ) -> Result<Option<String>> {
        match self.try_write_file(path, content, size_bytes).await {
            Ok(()) => Ok(None),
            Err(Unwritten::Reason(reason)) => Ok(Some(reason)),
            Err(Unwritten::Gone(error)) => Err(failure(&self.name, error)),
        }
    }

    async fn try_write_file(
        &mut self,
        path: &str,
        content: (&dyn GuestContent, usize),
        size_bytes: u64,
    ) -> std::result::Result<(), Unwritten> {
        let file = self.agent.open(path, "wb", AGENT_TIMEOUT).await?;
        let written = self.write_content(&file, content, size_bytes).await;
        // A file of which the agent lost the connection is closed by nobody, and that is told already.
        let closed = self.agent.close(file, WRITE_TIMEOUT).await;
        written?;
        Ok(closed?)
    }

    /// Writes the data of a file and leaves out its holes.
    async fn write_content(
        &mut self,
        file: &OpenFile,
        (content, number): (&dyn GuestContent, usize),
        size_bytes: u64,
    ) -> std::result::Result<(), Unwritten> {
        let mut end = 0;
        while let Some((at, bytes)) = content.data(number, end).await.map_err(Unwritten::Reason)? {
            if at > end {
                self.agent.seek(file, at, WRITE_TIMEOUT).await?;
            }
            for piece in bytes.chunks(WRITE_BYTES) {
                self.agent.write(file, piece, WRITE_TIMEOUT).await?;
            }
            end = at + bytes.len() as u64;
        }
        if end < size_bytes {
            self.agent.seek(file, size_bytes - 1, WRITE_TIMEOUT).await?;
            self.agent.write(file, &[0], WRITE_TIMEOUT).await?;
        }
        Ok(())
    }
}
