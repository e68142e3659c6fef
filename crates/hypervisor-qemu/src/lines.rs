//! Lines of text from a peer that is not trusted with our memory.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Splits a stream into lines of a bounded length.
#[derive(Debug)]
pub(crate) struct LineReader<R> {
    reader: R,
    buffer: BytesMut,
    searched_bytes: usize,
    limit_bytes: usize,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads lines of at most `limit_bytes` each.
    pub(crate) fn new(reader: R, limit_bytes: usize) -> Self {
        Self { reader, buffer: BytesMut::new(), searched_bytes: 0, limit_bytes }
    }

    /// The next line without its line feed; none at the end of the stream. Safe to cancel: no byte is lost.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(place) = self.buffer[self.searched_bytes..].iter().position(|&byte| byte == b'\n') {
                let mut line = self.buffer.split_to(self.searched_bytes + place + 1);
                line.truncate(line.len() - 1);
                self.searched_bytes = 0;
                return Ok(Some(line.freeze()));
            }
            self.searched_bytes = self.buffer.len();
            if self.buffer.len() > self.limit_bytes {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line longer than allowed"));
            }
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}
