//! Shows the live disks of a tapped VM, and what its journal has missed of them.

use std::sync::Arc;

use hypervisor::{Error, ErrorKind, Missed, Result, TapDisk};
use image::{ByteRange, ChangeMap};
use nbd::{Endpoint, NbdImage};
use serde_json::json;

use super::{epochs::GRANULARITY_BYTES, plan::PlannedTap};
use crate::{
    capture::remove_exports,
    export_server::{self, ServerUse},
    names,
    session::Session,
};

/// How much of a disk's bitmaps is asked for at once.
const WINDOW_BYTES: u64 = 16 << 30;
/// The most ranges that are kept of a disk. Where there are more, they are told more coarsely: too much is read, never too
/// little.
const RANGES_MAX: usize = 1 << 18;

/// The reading of live disks.
pub(super) struct Reading {
    images: Vec<Arc<NbdImage>>,
    server: ServerUse,
}

impl Reading {
    /// Nothing is read yet.
    pub(super) fn new(server: ServerUse) -> Self {
        Self { images: Vec::new(), server }
    }

    /// Shows a disk, and computes what was missed of it from the bitmaps of these names, none of which records.
    pub(super) async fn open(
        &mut self,
        session: &Session,
        planned: &PlannedTap,
        covering: std::result::Result<Vec<String>, String>,
    ) -> Result<TapDisk> {
        let disk = &planned.disk;
        let name = names::tap_reading(&disk.name);
        let bitmaps = covering.as_deref().unwrap_or_default();
        let shown: Vec<_> =
            bitmaps.iter().map(|bitmap| json!({"node": disk.format_node, "name": bitmap})).collect();
        let export = json!({
            "type": "nbd",
            "id": name,
            "name": name,
            "node-name": disk.format_node,
            "bitmaps": shown,
        });
        session.monitor.execute("block-export-add", export).await?;
        let endpoint = Endpoint::Unix(session.config.export_socket(session.vm.vm_id)?);
        let contexts: Vec<String> = bitmaps.iter().map(|bitmap| nbd::dirty_bitmap_context(bitmap)).collect();
        let unreadable = |source: image::Error| {
            let context = format!("the disk {} of {} cannot be read", disk.name, session.vm.name);
            Error::new(ErrorKind::Failed, context).with_source(source)
        };
        let live = NbdImage::connect(endpoint, &name, &contexts, NbdImage::CONNECTIONS_DEFAULT).await;
        let live = Arc::new(live.map_err(unreadable)?);
        self.images.push(live.clone());
        let missed = match covering {
            Err(reason) => Missed::All(reason),
            Ok(bitmaps) => match bitmaps.iter().map(|bitmap| live.changes(bitmap)).collect() {
                Some(maps) => Missed::Ranges(union(maps, disk.size_bytes).await.map_err(unreadable)?),
                None => Missed::All("QEMU does not show its change tracking".to_owned()),
            },
        };
        Ok(TapDisk { name: disk.name.clone(), size_bytes: disk.size_bytes, missed, live })
    }

    /// Ends it. Who still holds an image finds it gone.
    pub(super) async fn end(self, session: &Session) -> Result<()> {
        for image in self.images {
            let _ = image.disconnect().await; // QEMU may have gone first
        }
        drop(self.server);
        remove_exports(&session.monitor, names::is_of_tap).await?;
        export_server::stop_unused(session).await
    }
}

/// What is in any of several maps, in ascending order.
async fn union(maps: Vec<Arc<dyn ChangeMap>>, size_bytes: u64) -> image::Result<Vec<ByteRange>> {
    let mut missed = Ranges::new(RANGES_MAX, size_bytes);
    let mut start_bytes = 0;
    while start_bytes < size_bytes {
        let window = ByteRange::between(start_bytes, size_bytes.min(start_bytes + WINDOW_BYTES));
        let mut found = Vec::new();
        for map in &maps {
            found.extend(map.changed_within(window).await?);
        }
        found.sort_unstable_by_key(|range| range.offset_bytes);
        found.into_iter().for_each(|range| missed.push(range));
        start_bytes = window.end_bytes();
    }
    Ok(missed.kept)
}

/// Ranges in ascending order, no more than there is room for.
struct Ranges {
    kept: Vec<ByteRange>,
    limit: usize,
    size_bytes: u64,
    block_bytes: u64,
}

impl Ranges {
    fn new(limit: usize, size_bytes: u64) -> Self {
        Self { kept: Vec::new(), limit, size_bytes, block_bytes: u64::from(GRANULARITY_BYTES) }
    }

    /// Takes a range that begins no earlier than the one before.
    fn push(&mut self, range: ByteRange) {
        let start_bytes = range.offset_bytes - range.offset_bytes % self.block_bytes;
        let end_bytes = range.end_bytes().next_multiple_of(self.block_bytes).min(self.size_bytes);
        match self.kept.last_mut() {
            Some(last) if last.end_bytes() >= start_bytes => {
                *last = ByteRange::between(last.offset_bytes, last.end_bytes().max(end_bytes));
            }
            _ => self.kept.push(ByteRange::between(start_bytes, end_bytes)),
        }
        while self.kept.len() > self.limit {
            self.block_bytes *= 2;
            for range in std::mem::take(&mut self.kept) {
                self.push(range);
            }
        }
    }
}

#[cfg(test)]
mod tests;
