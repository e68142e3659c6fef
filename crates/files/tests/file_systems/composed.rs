//! Disks composed of parts, in no memory but that of what was changed.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use image::{ByteRange, DiskImage, Extent, ExtentKind};

/// Bytes of a sector of the disks here.
pub const SECTOR_BYTES: u64 = 512;

/// A disk that consists of parts; between them it is zero. A later part lies over an earlier one.
pub struct Composed {
    size_bytes: u64,
    parts: Vec<Part>,
}

struct Part {
    offset_bytes: u64,
    content: Content,
}

enum Content {
    Bytes(Vec<u8>),
    /// An image with some bytes changed, by their offsets in it.
    Image(Arc<dyn DiskImage>, BTreeMap<u64, u8>),
}

impl Composed {
    pub fn new(size_bytes: u64) -> Self {
        Self { size_bytes, parts: Vec::new() }
    }

    pub fn with_bytes(mut self, offset_bytes: u64, bytes: Vec<u8>) -> Self {
        self.parts.push(Part { offset_bytes, content: Content::Bytes(bytes) });
        self
    }

    /// Adds an image, some bytes of which are exchanged for others.
    pub fn with_image(
        mut self,
        offset_bytes: u64,
        image: &Arc<dyn DiskImage>,
        changes: BTreeMap<u64, u8>,
    ) -> Self {
        self.parts.push(Part { offset_bytes, content: Content::Image(Arc::clone(image), changes) });
        self
    }
}

impl Part {
    fn length_bytes(&self) -> u64 {
        match &self.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Image(image, _) => image.size_bytes(),
        }
    }

    /// Reads a range of the part.
    async fn read(&self, from: u64, buffer: &mut [u8]) -> image::Result<()> {
        match &self.content {
            Content::Bytes(bytes) => {
                buffer.copy_from_slice(&bytes[from as usize..from as usize + buffer.len()]);
            }
            Content::Image(image, changes) => {
                image.read_at(from, buffer).await?;
                for (at, byte) in changes.range(from..from + buffer.len() as u64) {
                    buffer[(at - from) as usize] = *byte;
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl DiskImage for Composed {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn extents(&self, range: ByteRange) -> image::Result<Vec<Extent>> {
        Ok(vec![Extent { range, kind: ExtentKind::Data }])
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> image::Result<()> {
        buffer.fill(0);
        let end = offset_bytes + buffer.len() as u64;
        for part in &self.parts {
            let start = part.offset_bytes.max(offset_bytes);
            let stop = (part.offset_bytes + part.length_bytes()).min(end);
            if start < stop {
                let place = &mut buffer[(start - offset_bytes) as usize..(stop - offset_bytes) as usize];
                part.read(start - part.offset_bytes, place).await?;
            }
        }
        Ok(())
    }
}
