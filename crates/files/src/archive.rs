//! Trees as streams of one archive.

mod header;
pub(crate) mod records;
mod tar;
mod zip;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{Error, ErrorKind, Result};

pub(crate) use header::{BLOCK_BYTES, EntryType, Header};
pub use tar::tar;
pub use zip::zip;

/// Where an archive goes, in order.
#[derive(Debug, Clone)]
pub struct Sink(mpsc::Sender<Bytes>);

impl Sink {
    /// A sink that sends to this channel.
    #[must_use]
    pub fn new(chunks: mpsc::Sender<Bytes>) -> Self {
        Self(chunks)
    }

    async fn send(&self, chunk: impl Into<Bytes>) -> Result<()> {
        let sent = self.0.send(chunk.into()).await;
        sent.map_err(|_| Error::new(ErrorKind::Failed, "nobody reads the archive any more"))
    }
}

#[cfg(test)]
mod tests;
