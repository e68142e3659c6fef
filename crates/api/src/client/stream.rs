//! Answers of any length.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{Method, Response, body::Incoming};
use serde::Serialize;

use super::{Client, Result, broken};

impl Client {
    /// Asks for what may be long.
    pub(super) async fn stream(&self, path: &str) -> Result<ByteStream> {
        Ok(ByteStream { response: self.request(Method::GET, path, Bytes::new()).await? })
    }

    /// The same, with a document.
    pub(super) async fn post_stream(&self, path: &str, body: &impl Serialize) -> Result<ByteStream> {
        let body = serde_json::to_vec(body).map_err(broken)?;
        Ok(ByteStream { response: self.request(Method::POST, path, body.into()).await? })
    }
}

/// The bytes of an answer that may be of any length.
#[derive(Debug)]
pub struct ByteStream {
    response: Response<Incoming>,
}

impl ByteStream {
    /// The next bytes; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.response.body_mut().frame().await {
            if let Ok(bytes) = frame.map_err(broken)?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}
