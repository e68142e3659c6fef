//! Frames that were fetched and expanded, kept for whoever reads on in them.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use model::{ByteCount, VaultId};
use tokio::sync::Semaphore;

use super::FrameHead;
use crate::{ChunkId, Digest, Result, index::ChunkPlace, lru::Lru, sync};

/// Frames that are fetched and expanded side by side. Each takes its place in memory twice meanwhile.
const FETCHES_AT_ONCE: usize = 16;

/// What a frame weighs at least, so that there are few however small they are.
const WEIGHT_MIN_BYTES: usize = 64 << 10;

/// Expanded frames within a budget, and each fetched once however many ask for it at the same time. Clones share them, as do
/// all images that are given one.
#[derive(Clone)]
pub struct FrameCache(Arc<Shared>);

struct Shared {
    budget: ByteCount,
    cells: Mutex<Lru<FrameKey, Cell>>,
    fetches: Semaphore,
}

/// Locked while it is fetched: whoever wants it too waits.
type Cell = Arc<tokio::sync::Mutex<Option<Arc<Expanded>>>>;

/// How much of a frame is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it: more chunks of it are likely to be read.
    Whole,
    /// One chunk, which ends here.
    UpTo(u32),
}

/// A frame's name, the same however often its vault is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FrameKey {
    pub(crate) vault: VaultId,
    pub(crate) pack: Digest,
    /// The frame's number in its pack.
    pub(crate) number: u32,
}

impl FrameCache {
    /// A cache that keeps expanded frames of so many bytes. While frames are fetched it takes up to 32 MiB more.
    #[must_use]
    pub fn with_budget(budget: ByteCount) -> Self {
        let cells = Mutex::new(Lru::new(usize::try_from(budget.0).unwrap_or(usize::MAX)));
        Self(Arc::new(Shared { budget, cells, fetches: Semaphore::new(FETCHES_AT_ONCE) }))
    }

    /// The frame, fetched now or before, with so many of its first bytes at least. One that was fetched in part is fetched
    /// whole when more of it is wanted. A failure is not kept.
    pub(crate) async fn get_or_fetch<F>(
        &self,
        key: FrameKey,
        head: &FrameHead,
        wanted: Wanted,
        fetch: impl FnOnce(Wanted) -> F,
    ) -> Result<Arc<Expanded>>
    where
        F: Future<Output = Result<Bytes>>,
    {
        let cell = self.cell(key, head);
        let mut kept = cell.lock().await;
        let wanted = match &*kept {
            Some(expanded) if expanded.holds(wanted, head) => return Ok(Arc::clone(expanded)),
            Some(_) => Wanted::Whole,
            None => wanted,
        };
        let _turn = self.0.fetches.acquire().await;
        let expanded = Arc::new(Expanded::new(fetch(wanted).await?));
        *kept = Some(Arc::clone(&expanded));
        Ok(expanded)
    }

    fn cell(&self, key: FrameKey, head: &FrameHead) -> Cell {
        let mut cells = sync::lock(&self.0.cells);
        if let Some(cell) = cells.get(&key) {
            return Arc::clone(cell);
        }
        let cell = Cell::default();
        cells.put(key, Arc::clone(&cell), (head.raw_bytes as usize).max(WEIGHT_MIN_BYTES));
        cell
    }
}

/// An expanded frame or its start, and which of its chunks are known to be those that their ids name.
pub(crate) struct Expanded {
    bytes: Bytes,
    /// Each with where it begins and its length.
    sound: Mutex<HashSet<(ChunkId, u32, u32)>>,
}

impl Expanded {
    fn new(bytes: Bytes) -> Self {
        Self { bytes, sound: Mutex::default() }
    }

    fn holds(&self, wanted: Wanted, head: &FrameHead) -> bool {
        self.bytes.len() as u64
            >= match wanted {
                Wanted::Whole => head.raw_bytes.into(),
                Wanted::UpTo(end_bytes) => end_bytes.min(head.raw_bytes).into(),
            }
    }

    /// The bytes of a chunk, checked when they are first asked for; none where they are not what its id names.
    pub(crate) fn chunk(
        &self,
        id: ChunkId,
        &ChunkPlace { offset_bytes, length_bytes, .. }: &ChunkPlace,
        is_of_id: impl FnOnce(&[u8]) -> bool,
    ) -> Option<Bytes> {
        let start = offset_bytes as usize;
        let end = start + length_bytes as usize;
        if end > self.bytes.len() {
            return None;
        }
        let chunk = (id, offset_bytes, length_bytes);
        if !sync::lock(&self.sound).contains(&chunk) {
            if !is_of_id(&self.bytes[start..end]) {
                return None;
            }
            sync::lock(&self.sound).insert(chunk);
        }
        Some(self.bytes.slice(start..end))
    }
}

impl fmt::Debug for FrameCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FrameCache").field("budget", &self.0.budget).finish_non_exhaustive()
    }
}
