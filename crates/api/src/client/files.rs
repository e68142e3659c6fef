//! Files inside images.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{Method, Response, body::Incoming};

use super::{Client, Result, broken, encoded, segment};
use crate::{FileView, UnlockVolumes, VolumeView};

/// The longest line of a listing, in bytes: paths are bounded.
const LINE_LIMIT_BYTES: usize = 1 << 20;

impl Client {
    /// What an image has that may hold files.
    pub async fn volumes(&self, reference: &str) -> Result<Vec<VolumeView>> {
        self.get(&format!("/v1/files/volumes?reference={}", segment(reference))).await
    }

    /// Opens the encrypted volumes of an image.
    pub async fn unlock_volumes(&self, request: &UnlockVolumes) -> Result<Vec<VolumeView>> {
        self.post("/v1/files/unlock", request).await
    }

    /// What is in a directory, or the one thing that is no directory. Paths are bytes.
    pub async fn files(&self, reference: &str, path: &[u8]) -> Result<FileLines> {
        let query = format!("/v1/files?reference={}&path={}", segment(reference), encoded(path));
        Ok(FileLines(self.stream(&query).await?, Vec::new()))
    }

    /// What lies below a directory with a name that matches a pattern.
    pub async fn find_files(&self, reference: &str, path: &[u8], name: &[u8]) -> Result<FileLines> {
        let (reference, path, name) = (segment(reference), encoded(path), encoded(name));
        let query = format!("/v1/files/find?reference={reference}&path={path}&name={name}");
        Ok(FileLines(self.stream(&query).await?, Vec::new()))
    }

    /// The content of a file.
    pub async fn file_content(&self, reference: &str, path: &[u8]) -> Result<ByteStream> {
        let query = format!("/v1/files/content?reference={}&path={}", segment(reference), encoded(path));
        self.stream(&query).await
    }

    /// A file or a directory with all that is below it, as an archive: `tar` or `zip`.
    pub async fn file_archive(&self, reference: &str, path: &[u8], format: &str) -> Result<ByteStream> {
        let (reference, path) = (segment(reference), encoded(path));
        let query = format!("/v1/files/archive?reference={reference}&path={path}&format={}", segment(format));
        self.stream(&query).await
    }

    pub(super) async fn stream(&self, path: &str) -> Result<ByteStream> {
        Ok(ByteStream { response: self.request(Method::GET, path, Bytes::new()).await? })
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

/// A listing that may be of any length.
#[derive(Debug)]
pub struct FileLines(ByteStream, Vec<u8>);

impl FileLines {
    /// The next entry; none at the end.
    pub async fn next(&mut self) -> Result<Option<FileView>> {
        let Self(stream, buffer) = self;
        loop {
            if let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).map(Some).map_err(broken);
            }
            match stream.next().await? {
                Some(bytes) => buffer.extend_from_slice(&bytes),
                None if buffer.is_empty() => return Ok(None),
                None => return Err(broken("a line has no end")),
            }
            if buffer.len() > LINE_LIMIT_BYTES {
                return Err(broken("a line is too long"));
            }
        }
    }
}
