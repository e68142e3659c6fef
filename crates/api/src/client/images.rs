//! Images: exported, compared, read.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{Method, Response, body::Incoming};

use super::{Client, ClientError, Result, segment};
use crate::{ExportRequest, ImageExtentsView, JobView};

impl Client {
    /// Starts to write an image to a file.
    pub async fn export(&self, request: &ExportRequest) -> Result<JobView> {
        self.post("/v1/exports", request).await
    }

    /// A page of the ranges in which two images differ.
    pub async fn image_changes(
        &self,
        base: &str,
        reference: &str,
        from_copy: Option<&str>,
        offset_bytes: u64,
    ) -> Result<ImageExtentsView> {
        let (base, reference, copy) = (segment(base), segment(reference), copy(from_copy));
        let query = format!("base={base}&reference={reference}&offset_bytes={offset_bytes}{copy}");
        self.get(&format!("/v1/images/changes?{query}")).await
    }

    /// All bytes of an image.
    pub async fn image_data(&self, reference: &str, from_copy: Option<&str>) -> Result<ImageData> {
        let query = format!("reference={}{}", segment(reference), copy(from_copy));
        let path = format!("/v1/images/data?{query}");
        Ok(ImageData { response: self.request(Method::GET, &path, Bytes::new()).await? })
    }
}

fn copy(from_copy: Option<&str>) -> String {
    from_copy.map(|copy| format!("&from_copy={}", segment(copy))).unwrap_or_default()
}

/// The bytes of an image on their way here.
pub struct ImageData {
    response: Response<Incoming>,
}

impl ImageData {
    /// The next bytes; none after the last.
    ///
    /// # Errors
    /// [`ClientError::Broken`] when the server cannot go on; its log says why.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some(frame) = self.response.body_mut().frame().await else { return Ok(None) };
            let frame =
                frame.map_err(|error| ClientError::Broken(format!("{error}; see the server's log")))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}
