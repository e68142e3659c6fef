//! Reading ahead: whoever copies a disk from front to back asks for one piece at a time, and should wait for none.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use image::{ByteRange, DiskImage, Extent, ExtentKind, Result};

/// How far ahead is read. What is read stays in the cache of the image below, which is to be larger.
const AHEAD_BYTES: u64 = 8 << 20;

/// Pieces of this length are read side by side.
const PIECE_BYTES: u64 = 1 << 20;
const PIECES_AT_ONCE: usize = 4;

/// An image that is read ahead of whoever reads it in order.
pub(super) struct ReadAhead {
    inner: Arc<dyn DiskImage>,
    /// Where the last read ended.
    last_end_bytes: AtomicU64,
    /// Up to where was read ahead.
    ahead_end_bytes: Arc<AtomicU64>,
    busy: Arc<AtomicBool>,
}

impl ReadAhead {
    pub(super) fn new(inner: Arc<dyn DiskImage>) -> Self {
        Self {
            inner,
            last_end_bytes: AtomicU64::new(u64::MAX),
            ahead_end_bytes: Arc::default(),
            busy: Arc::default(),
        }
    }

    /// Notes a read. One that goes on where the last one ended makes the next ones faster.
    fn note(&self, range: ByteRange) {
        let follows = self.last_end_bytes.swap(range.end_bytes(), Ordering::Relaxed) == range.offset_bytes;
        let ahead_end_bytes = self.ahead_end_bytes.load(Ordering::Relaxed);
        let wanted_end_bytes = (range.end_bytes() + AHEAD_BYTES).min(self.inner.size_bytes());
        let start_bytes = ahead_end_bytes.clamp(range.end_bytes(), wanted_end_bytes);
        // Half of the way is left before it goes on, so that it reads in long pieces.
        if !follows
            || wanted_end_bytes - start_bytes < AHEAD_BYTES / 2
            || self.busy.swap(true, Ordering::AcqRel)
        {
            return;
        }
        self.ahead_end_bytes.store(wanted_end_bytes, Ordering::Relaxed);
        let (inner, busy) = (self.inner.clone(), self.busy.clone());
        tokio::spawn(async move {
            // What cannot be read is said to whoever asks for it.
            let _ = warm(inner, ByteRange::between(start_bytes, wanted_end_bytes)).await;
            busy.store(false, Ordering::Release);
        });
    }
}

/// Reads the data of a range, for the sake of the caches below.
async fn warm(image: Arc<dyn DiskImage>, range: ByteRange) -> Result<()> {
    let mut pieces = Vec::new();
    for extent in image.extents(range).await?.iter().filter(|extent| extent.kind == ExtentKind::Data) {
        let mut start_bytes = extent.range.offset_bytes;
        while start_bytes < extent.range.end_bytes() {
            let end_bytes = extent.range.end_bytes().min(start_bytes + PIECE_BYTES);
            pieces.push(ByteRange::between(start_bytes, end_bytes));
            start_bytes = end_bytes;
        }
    }
    let read = |piece: ByteRange| {
        let image = Arc::clone(&image);
        async move { drop(image.read_at(piece.offset_bytes, &mut vec![0; piece.length_bytes as usize]).await) }
    };
    stream::iter(pieces).map(read).buffer_unordered(PIECES_AT_ONCE).collect::<()>().await;
    Ok(())
}

#[async_trait]
impl DiskImage for ReadAhead {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        self.inner.extents(range).await
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<()> {
        self.note(ByteRange::new(offset_bytes, buffer.len() as u64));
        self.inner.read_at(offset_bytes, buffer).await
    }
}
