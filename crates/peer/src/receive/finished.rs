//! A disk that has arrived whole, as an image.

use std::sync::Arc;

use async_trait::async_trait;
use env::Threads;
use image::{ByteRange, DiskImage, Error, ErrorKind, Extent, ExtentKind, Result};

use super::staging::Transfer;
use crate::transfer::REGION_SIZE_BYTES;

/// What has arrived, above the base or above nothing.
pub(super) struct FinishedImage {
    pub(super) transfer: Arc<Transfer>,
    pub(super) place: usize,
    pub(super) size_bytes: u64,
    pub(super) base: Option<Arc<dyn DiskImage>>,
    pub(super) threads: Threads,
}

impl FinishedImage {
    /// The pieces of a range that lie in one region each, and whether that has arrived.
    fn pieces(&self, range: ByteRange) -> Result<Vec<(ByteRange, bool)>> {
        range.check_within(self.size_bytes)?;
        let disk = self.transfer.disk(self.place).map_err(unreadable)?;
        let (mut pieces, mut start_bytes) = (Vec::new(), range.offset_bytes);
        while start_bytes < range.end_bytes() {
            let region = start_bytes / REGION_SIZE_BYTES;
            let end_bytes = range.end_bytes().min((region + 1) * REGION_SIZE_BYTES);
            pieces.push((ByteRange::between(start_bytes, end_bytes), disk.has(region)));
            start_bytes = end_bytes;
        }
        Ok(pieces)
    }

    /// The part of a range that the base has.
    fn in_base(&self, range: ByteRange) -> ByteRange {
        let base_bytes = self.base.as_ref().map_or(0, |base| base.size_bytes());
        range.intersection(ByteRange::new(0, base_bytes))
    }
}

#[async_trait]
impl DiskImage for FinishedImage {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        let mut extents = Vec::new();
        for (piece, has_arrived) in self.pieces(range)? {
            if has_arrived {
                extents.push(Extent { range: piece, kind: ExtentKind::Data });
                continue;
            }
            let known = self.in_base(piece);
            if let Some(base) = self.base.as_ref().filter(|_| !known.is_empty()) {
                extents.extend(base.extents(known).await?);
            }
            let beyond = ByteRange::between(piece.offset_bytes + known.length_bytes, piece.end_bytes());
            if !beyond.is_empty() {
                extents.push(Extent { range: beyond, kind: ExtentKind::Zero });
            }
        }
        Ok(extents)
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<()> {
        let mut rest = buffer;
        for (piece, has_arrived) in self.pieces(ByteRange::new(offset_bytes, rest.len() as u64))? {
            let (part, behind) = rest.split_at_mut(piece.length_bytes as usize);
            rest = behind;
            if !has_arrived {
                let (known, unknown) = part.split_at_mut(self.in_base(piece).length_bytes as usize);
                unknown.fill(0);
                if let Some(base) = self.base.as_ref().filter(|_| !known.is_empty()) {
                    base.read_at(piece.offset_bytes, known).await?;
                }
                continue;
            }
            let (transfer, place, length) = (Arc::clone(&self.transfer), self.place, part.len());
            let read = self.threads.run(move || {
                let mut bytes = vec![0; length];
                transfer
                    .disk(place)
                    .and_then(|disk| disk.read(piece.offset_bytes, &mut bytes))
                    .map(|()| bytes)
            });
            let read = read
                .await
                .map_err(|error| Error::new(ErrorKind::Io, "a read was broken off").with_source(error))?;
            part.copy_from_slice(&read.map_err(unreadable)?);
        }
        Ok(())
    }
}

fn unreadable(error: crate::Error) -> Error {
    Error::new(ErrorKind::Io, "a disk that has arrived").with_source(error)
}
