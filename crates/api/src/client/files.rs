//! Files inside images.

use super::{ByteStream, Client, ImageQuery, Result, broken, encoded, segment};
use crate::{FileView, UnlockVolumes, VolumeView};

/// The longest line of a listing, in bytes: paths are bounded.
const LINE_LIMIT_BYTES: usize = 1 << 20;

impl Client {
    /// What an image has that may hold files.
    pub async fn volumes(&self, image: ImageQuery<'_>) -> Result<Vec<VolumeView>> {
        self.get(&format!("/v1/files/volumes?{image}")).await
    }

    /// Opens the encrypted volumes of an image.
    pub async fn unlock_volumes(&self, request: &UnlockVolumes) -> Result<Vec<VolumeView>> {
        self.post("/v1/files/unlock", request).await
    }

    /// What is in a directory, or the one thing that is no directory. Paths are bytes.
    pub async fn files(&self, image: ImageQuery<'_>, path: &[u8]) -> Result<FileLines> {
        let query = format!("/v1/files?{image}&path={}", encoded(path));
        Ok(FileLines(self.stream(&query).await?, Vec::new()))
    }

    /// What lies below a directory with a name that matches a pattern.
    pub async fn find_files(&self, image: ImageQuery<'_>, path: &[u8], name: &[u8]) -> Result<FileLines> {
        let query = format!("/v1/files/find?{image}&path={}&name={}", encoded(path), encoded(name));
        Ok(FileLines(self.stream(&query).await?, Vec::new()))
    }

    /// The content of a file.
    pub async fn file_content(&self, image: ImageQuery<'_>, path: &[u8]) -> Result<ByteStream> {
        let query = format!("/v1/files/content?{image}&path={}", encoded(path));
        self.stream(&query).await
    }

    /// A range of a file, cut at its end.
    pub async fn file_range(
        &self,
        image: ImageQuery<'_>,
        path: &[u8],
        offset_bytes: u64,
        length_bytes: u64,
    ) -> Result<ByteStream> {
        let range = format!("offset_bytes={offset_bytes}&length_bytes={length_bytes}");
        self.stream(&format!("/v1/files/content?{image}&path={}&{range}", encoded(path))).await
    }

    /// A file or a directory with all that is below it, as an archive: `tar` or `zip`.
    pub async fn file_archive(&self, image: ImageQuery<'_>, path: &[u8], format: &str) -> Result<ByteStream> {
        let (path, format) = (encoded(path), segment(format));
        let query = format!("/v1/files/archive?{image}&path={path}&format={format}");
        self.stream(&query).await
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
