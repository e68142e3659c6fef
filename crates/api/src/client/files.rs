//! Files inside images.

use super::{ByteStream, Client, ImageQuery, Lines, Result, encoded, segment};
use crate::{FileChangeView, FileView, UnlockVolumes, VolumeView};

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
    pub async fn files(&self, image: ImageQuery<'_>, path: &[u8]) -> Result<Lines<FileView>> {
        let query = format!("/v1/files?{image}&path={}", encoded(path));
        self.lines(&query).await
    }

    /// What lies below a directory with a name that matches a pattern.
    pub async fn find_files(
        &self,
        image: ImageQuery<'_>,
        path: &[u8],
        name: &[u8],
    ) -> Result<Lines<FileView>> {
        let query = format!("/v1/files/find?{image}&path={}&name={}", encoded(path), encoded(name));
        self.lines(&query).await
    }

    /// What differs between the files of two images; both are looked for in the same copy. `with_content` compares the bytes
    /// of files that have the same size.
    pub async fn file_changes(
        &self,
        base: &str,
        image: ImageQuery<'_>,
        path: &[u8],
        with_content: bool,
    ) -> Result<Lines<FileChangeView>> {
        let (base, path) = (segment(base), encoded(path));
        let query = format!("base={base}&{image}&path={path}&content={with_content}");
        self.lines(&format!("/v1/files/changes?{query}")).await
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
