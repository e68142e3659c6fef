//! Images: exported, compared, read.

use super::{ByteStream, Client, Result, segment};
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
    pub async fn image_data(&self, reference: &str, from_copy: Option<&str>) -> Result<ByteStream> {
        let query = format!("reference={}{}", segment(reference), copy(from_copy));
        self.stream(&format!("/v1/images/data?{query}")).await
    }
}

fn copy(from_copy: Option<&str>) -> String {
    from_copy.map(|copy| format!("&from_copy={}", segment(copy))).unwrap_or_default()
}
