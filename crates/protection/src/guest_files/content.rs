//! The contents of a group of files, read out of the image while they are written.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use files::{FilePath, FileTree};
use hypervisor::GuestContent;
use model::Progress;
use tokio::sync::Mutex;

use crate::Monitor;

/// Bytes that are read at once.
const READ_BYTES: u64 = 1 << 20;

/// The files of a group.
pub(super) struct Content<'a> {
    tree: Arc<dyn FileTree>,
    paths: &'a [FilePath],
    monitor: &'a Arc<dyn Monitor>,
    /// Bytes before this group, and of everything.
    progress: (u64, u64),
    read_bytes: AtomicU64,
    /// What is known of where the file has data that is being read.
    known: Mutex<Ranges>,
}

/// Where a file has data, from some offset on.
#[derive(Default)]
struct Ranges {
    item: usize,
    ranges: VecDeque<Range<u64>>,
    /// From where to ask on; none at the end.
    next: Option<u64>,
}

impl<'a> Content<'a> {
    pub(super) fn new(
        tree: Arc<dyn FileTree>,
        paths: &'a [FilePath],
        monitor: &'a Arc<dyn Monitor>,
        progress: (u64, u64),
    ) -> Self {
        let (read_bytes, known) = (AtomicU64::new(0), Mutex::default());
        Self { tree, paths, monitor, progress, read_bytes, known }
    }

    /// The next range with data, at or behind an offset.
    async fn range(
        &self,
        item: usize,
        path: &FilePath,
        offset_bytes: u64,
    ) -> files::Result<Option<Range<u64>>> {
        let mut known = self.known.lock().await;
        if known.item != item || offset_bytes == 0 {
            *known = Ranges { item, ranges: VecDeque::new(), next: Some(offset_bytes) };
        }
        loop {
            while known.ranges.front().is_some_and(|range| range.end <= offset_bytes) {
                known.ranges.pop_front();
            }
            if let Some(range) = known.ranges.front() {
                return Ok(Some(range.start.max(offset_bytes)..range.end));
            }
            let Some(next) = known.next else { return Ok(None) };
            let (ranges, next) = self.tree.data_ranges(path, next.max(offset_bytes)).await?;
            (known.ranges, known.next) = (ranges.into(), next);
        }
    }
}

#[async_trait]
impl GuestContent for Content<'_> {
    async fn data(&self, item: usize, offset_bytes: u64) -> Result<Option<(u64, Bytes)>, String> {
        if self.monitor.cancellation().is_cancelled() {
            return Err("the restore was cancelled".to_owned());
        }
        let path = self.paths.get(item).ok_or_else(|| "there is no such file".to_owned())?;
        let told = |error: files::Error| error.to_string();
        let Some(range) = self.range(item, path, offset_bytes).await.map_err(told)? else { return Ok(None) };
        let length = (range.end - range.start).min(READ_BYTES) as usize;
        let bytes = self.tree.read(path, range.start, length).await.map_err(told)?;
        if bytes.is_empty() {
            // The file's last block may be longer than the file.
            return Ok(None);
        }
        let read = self.read_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed) + bytes.len() as u64;
        let (done, total) = self.progress;
        self.monitor.progress(Progress {
            phase: "putting files into the guest".to_owned(),
            done_bytes: done.saturating_add(read),
            total_bytes: Some(total),
        });
        Ok(Some((range.start, bytes)))
    }
}
