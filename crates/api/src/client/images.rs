//! Images: exported, compared, read.

use std::fmt;

use super::{ByteStream, Client, Result, broken, segment};
use crate::{ExportRequest, ImageExtentsView, JobView, NbdRequest, NbdView};

impl Client {
    /// Starts to write an image to a file.
    pub async fn export(&self, request: &ExportRequest) -> Result<JobView> {
        self.post("/v1/exports", request).await
    }

    /// A page of the ranges in which two images differ; both are looked for in the same copy.
    pub async fn image_changes(
        &self,
        base: &str,
        image: ImageQuery<'_>,
        offset_bytes: u64,
    ) -> Result<ImageExtentsView> {
        let query = format!("base={}&{image}&offset_bytes={offset_bytes}", segment(base));
        self.get(&format!("/v1/images/changes?{query}")).await
    }

    /// A page of the ranges of an image that may hold something else than zeros.
    pub async fn image_extents(&self, image: ImageQuery<'_>, offset_bytes: u64) -> Result<ImageExtentsView> {
        self.get(&format!("/v1/images/extents?{image}&offset_bytes={offset_bytes}")).await
    }

    /// A range of an image.
    pub async fn image_range(
        &self,
        image: ImageQuery<'_>,
        offset_bytes: u64,
        length_bytes: u64,
    ) -> Result<ByteStream> {
        let range = format!("offset_bytes={offset_bytes}&length_bytes={length_bytes}");
        self.stream(&format!("/v1/images/data?{image}&{range}")).await
    }

    /// All bytes of an image.
    pub async fn image_data(&self, image: ImageQuery<'_>) -> Result<ByteStream> {
        self.stream(&format!("/v1/images/data?{image}")).await
    }

    /// Shows the disks of an image over NBD until the answer is dropped.
    pub async fn show_over_nbd(&self, request: &NbdRequest) -> Result<ShownOverNbd> {
        let mut lasting = self.post_stream("/v1/images/nbd", request).await?;
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let bytes = lasting.next().await?.ok_or_else(|| broken("it has no end"))?;
            line.extend_from_slice(&bytes);
            if line.len() > VIEW_LIMIT_BYTES {
                return Err(broken("it is too long"));
            }
        }
        Ok(ShownOverNbd { view: serde_json::from_slice(&line).map_err(broken)?, lasting })
    }
}

/// The longest description of what is shown, in bytes.
const VIEW_LIMIT_BYTES: usize = 1 << 20;

/// Disks that are shown over NBD for as long as this lives and the server does.
#[derive(Debug)]
pub struct ShownOverNbd {
    /// What is shown, and where.
    pub view: NbdView,
    lasting: ByteStream,
}

impl ShownOverNbd {
    /// Returns when the server shows them no more.
    pub async fn ended(&mut self) {
        while let Ok(Some(_)) = self.lasting.next().await {}
    }
}

/// Which image a question is about, and the copy to look in instead of the vault: written as the start of a query.
#[derive(Debug, Clone, Copy)]
pub struct ImageQuery<'a> {
    /// The reference, as in `point:web-1/latest`.
    pub reference: &'a str,
    /// `<copy>` or `<vault>/<copy>`.
    pub from_copy: Option<&'a str>,
}

impl fmt::Display for ImageQuery<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "reference={}", segment(self.reference))?;
        match self.from_copy {
            Some(copy) => write!(formatter, "&from_copy={}", segment(copy)),
            None => Ok(()),
        }
    }
}
