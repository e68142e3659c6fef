//! Lists of any length.

use std::marker::PhantomData;

use bytes::BytesMut;
use serde::de::DeserializeOwned;

use super::{ByteStream, Client, Result, broken};

/// The longest line of a list, in bytes: paths are bounded.
const LINE_LIMIT_BYTES: usize = 1 << 20;

impl Client {
    /// Asks for a list that is sent a JSON document a line.
    pub(super) async fn lines<T: DeserializeOwned>(&self, path: &str) -> Result<Lines<T>> {
        Ok(Lines { stream: self.stream(path).await?, buffer: BytesMut::new(), item: PhantomData })
    }
}

/// A list that may be of any length, item by item.
#[derive(Debug)]
pub struct Lines<T> {
    stream: ByteStream,
    buffer: BytesMut,
    item: PhantomData<T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// The next item; none at the end.
    pub async fn next(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return serde_json::from_slice(&line).map(Some).map_err(broken);
            }
            if self.buffer.len() > LINE_LIMIT_BYTES {
                return Err(broken("a line is too long"));
            }
            match self.stream.next().await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(broken("a line has no end")),
            }
        }
    }
}
