//! Putting disks into a vault and committing recovery points.

mod collector;
mod commit;
mod packer;
mod region;
mod repacker;
mod visit;

use std::{fmt, sync::Arc};

use futures::{SinkExt, StreamExt, TryStreamExt, channel::mpsc, stream};
use image::{ChangeMap, DiskImage};

use crate::{
    DiskMap, Error, ErrorKind, Monitor, Result, Vault,
    frame::RawFrame,
    log::{Sequence, State},
    pool::BufferPool,
    tree::{FAN_OUT_BITS, Located, TreeBuilder, TreeReader},
    vault::{Fresh, Shared},
};
pub(crate) use repacker::Repacker;

use collector::Collector;
use packer::Packer;
use region::RegionCutter;
use visit::Visits;

/// Regions that are read and cut at once: enough to keep a disk and two processors busy, within the memory goal.
const REGIONS_AT_ONCE: usize = 3;

/// Full frames that wait for a compressor.
const FRAMES_WAITING: usize = 1;

/// A disk to be put into a vault.
#[derive(Clone)]
pub struct DiskSource {
    /// The disk's bytes.
    pub image: Arc<dyn DiskImage>,
    /// An earlier state of the disk in the same vault: its cuts are kept where its bytes still are.
    pub parent: Option<DiskMap>,
    /// What changed since the parent, and so the only part that is read. Needs a parent of the same size. Without it the
    /// whole disk is read, and what equals the parent or anything else in the vault is not stored again.
    pub changes: Option<Arc<dyn ChangeMap>>,
}

/// A disk that was put into a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredDisk {
    /// Where it is; belongs into a point.
    pub map: DiskMap,
    /// Bytes read from the image.
    pub read_bytes: u64,
    /// Bytes added to packs: compressed, encrypted, with their directory entries.
    pub stored_bytes: u64,
    /// Chunks and tree nodes that the vault did not have yet.
    pub new_chunks: u64,
}

/// Adds to a vault. Any number may work at once, in one process or in many; what two of them store at the same time may
/// be stored twice.
///
/// Nothing that a writer stores can be seen before [`Writer::commit`]. One that is dropped leaves packs and index
/// segments that no point refers to; the next writer uses them.
pub struct Writer {
    shared: Arc<Shared>,
    collector: Collector,
    packer: Packer,
    cutter: Arc<RegionCutter>,
    lost_packs: usize,
    unreadable_segments: usize,
    /// The vault when the writer was started.
    base: Arc<State>,
    /// The last collection that is known to have taken nothing from this writer.
    collected: Sequence,
    /// A disk was begun and not finished: chunks may be noted as stored that never were.
    broken: bool,
}

impl Vault {
    /// Starts a writer, which knows all chunks that are in the vault at this moment. What is only in packs that are
    /// missing, too short or known to be damaged is stored again.
    ///
    /// # Errors
    /// Whatever keeps the index from being read or the packs from being listed.
    pub async fn writer(&self) -> Result<Writer> {
        let Fresh { state: base, unreadable } = self.shared.refresh().await?;
        let lost_packs = self.shared.find_lost_packs().await?;
        let shared = Arc::clone(&self.shared);
        let config = &shared.config;
        let frame_buffers =
            BufferPool::of_capacity(config.data_frame_bytes.max(config.tree_frame_bytes) as usize);
        Ok(Writer {
            collector: Collector::new(Arc::clone(&shared), frame_buffers.clone()),
            packer: Packer::new(Arc::clone(&shared), frame_buffers, Arc::clone(&base)),
            cutter: Arc::new(RegionCutter::new(Arc::clone(&shared))),
            shared,
            lost_packs,
            unreadable_segments: unreadable.len(),
            collected: base.body.collected,
            base,
            broken: false,
        })
    }
}

impl Writer {
    /// Packs that the vault had lost when the writer was started, and whose chunks are not all elsewhere by now. Where there
    /// are any, a disk heals only if it is stored without its changes: with them, what did not change is taken over from
    /// the parent unread, and may be lost.
    #[must_use]
    pub fn lost_packs(&self) -> usize {
        self.lost_packs
    }

    /// Whether everything that a disk needs is in the vault, as far as lost packs and unreadable index segments tell. Only
    /// then may its map be the parent of changes. Reads the map when anything at all is lost, and otherwise nothing.
    ///
    /// # Errors
    /// Whatever keeps the store from being read; damage is no error.
    pub async fn is_whole(&self, map: &DiskMap) -> Result<bool> {
        if self.lost_packs == 0 && self.unreadable_segments == 0 {
            return Ok(true);
        }
        match self.holds_all_of(&TreeReader::new(Arc::clone(&self.shared), *map)).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(false),
            holds => holds,
        }
    }

    async fn holds_all_of(&self, tree: &TreeReader) -> Result<bool> {
        let mut region = 0;
        while region < tree.map().region_count() {
            region = match tree.locate(region).await? {
                Located::HoleUntil(next) => next,
                Located::Leaf(id) => {
                    let leaf = tree.load_leaf(region, id).await?;
                    for id in leaf.chunks.iter().map(|chunk| &chunk.id).chain([&id]) {
                        if !self.shared.index.holds(id)? {
                            return Ok(false);
                        }
                    }
                    region + 1
                }
            };
        }
        Ok(true)
    }

    /// Reads a disk and stores what the vault does not have. Progress counts bytes of the disk, in order. After an error,
    /// and when the future is dropped, the writer is of no more use.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Disk`] when the image fails, [`crate::ErrorKind::NoSpace`] when the store is full.
    /// [`crate::ErrorKind::Corrupt`] when a part of the parent's map is lost that the changes leave to the parent: without
    /// the changes, a new writer stores the disk.
    pub async fn store_disk(&mut self, source: DiskSource, monitor: &Monitor) -> Result<StoredDisk> {
        let size_bytes = source.image.size_bytes();
        if source.changes.is_some() && source.parent.is_none_or(|parent| parent.size_bytes != size_bytes) {
            return Err(Error::invalid("changes make sense only with a parent of the same size"));
        }
        if source.changes.is_some()
            && let Some(root) = source.parent.and_then(|parent| parent.root)
            && !self.base.has_root(&root)
        {
            return Err(Error::new(
                ErrorKind::Overtaken,
                "the point that the changes start from was deleted",
            )
            .with_guidance("run the same again: it starts from another point"));
        }
        self.check_unbroken()?;
        self.broken = true;
        let stored_bytes_before = self.packer.stored_bytes();
        self.collector.begin();
        monitor.begin(size_bytes)?;
        let (frames, frames_to_pack) = mpsc::channel(FRAMES_WAITING);
        let Self { shared, collector, packer, cutter, .. } = self;
        let parent = source.parent.map(|map| TreeReader::new(Arc::clone(shared), map));
        let storing = Storing { collector, cutter, frames, parent: parent.as_ref() };
        let work = async { tokio::try_join!(storing.run(&source, monitor), packer.run(frames_to_pack)) };
        let ((map, read_bytes), ()) = monitor.unless_cancelled(Box::pin(work)).await?;
        self.broken = false;
        Ok(StoredDisk {
            map,
            read_bytes,
            stored_bytes: self.packer.stored_bytes() - stored_bytes_before,
            new_chunks: self.collector.new_chunks(),
        })
    }

    fn check_unbroken(&self) -> Result<()> {
        if self.broken { Err(Error::invalid("this writer failed before; start a new one")) } else { Ok(()) }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Writer").field("place", &self.shared.store.place()).finish_non_exhaustive()
    }
}

/// The front half of storing one disk, from the image to full frames.
struct Storing<'a> {
    collector: &'a mut Collector,
    cutter: &'a Arc<RegionCutter>,
    frames: mpsc::Sender<RawFrame>,
    parent: Option<&'a TreeReader>,
}

impl Storing<'_> {
    async fn run(mut self, source: &DiskSource, monitor: &Monitor) -> Result<(DiskMap, u64)> {
        let size_bytes = source.image.size_bytes();
        let (cutter, parent) = (self.cutter, self.parent);
        let visits = Visits::new(source.clone());
        let visits = stream::try_unfold(visits, |mut visits| async move {
            Ok(visits.next().await?.map(|visit| (visit, visits)))
        });
        let cuts = visits.map_ok(|visit| cutter.read_and_cut(&source.image, parent, visit));
        // Boxed where the lifetimes are known: otherwise no caller can tell that the whole may move between threads.
        let mut regions = cuts.try_buffered(REGIONS_AT_ONCE).boxed();
        let mut builder = TreeBuilder::new(size_bytes);
        // Where only changes are read, what lies between them is the parent's.
        let unread = parent.filter(|_| source.changes.is_some());
        let (mut read_bytes, mut next_region) = (0, 0);
        while let Some(cut) = regions.try_next().await? {
            self.reuse(unread, next_region, cut.region, &mut builder).await?;
            read_bytes += cut.read_bytes;
            next_region = cut.region + 1;
            let leaf = self.collector.put_region(&cut)?;
            builder.put_leaf(cut.region, &leaf, self.collector)?;
            self.send_full_frames().await?;
            monitor.advance_to(cut.end_bytes)?;
        }
        let region_count = DiskMap { size_bytes, root: None }.region_count();
        self.reuse(unread, next_region, region_count, &mut builder).await?;
        let map = builder.finish(self.collector)?;
        self.collector.close_frames();
        self.send_full_frames().await?;
        monitor.advance_to(size_bytes)?;
        Ok((map, read_bytes))
    }

    /// Takes the regions from `from` up to `until` over from the parent, by whole subtrees where they fit.
    async fn reuse(
        &mut self,
        parent: Option<&TreeReader>,
        from: u64,
        until: u64,
        builder: &mut TreeBuilder,
    ) -> Result<()> {
        let Some(parent) = parent else { return Ok(()) };
        let map = parent.map();
        let mut region = from;
        while region < until {
            let mut level = 0;
            let fits = |level: u32| {
                let width = 1 << (level * FAN_OUT_BITS);
                region.is_multiple_of(width) && (region + width).min(map.region_count()) <= until
            };
            while level < map.root_level() && fits(level + 1) {
                level += 1;
            }
            let place = region >> (level * FAN_OUT_BITS);
            if let Some(id) = parent.node_id(level, place).await? {
                if !self.collector.holds(&id)? {
                    return Err(Error::corrupt(format!("node {id} of the parent's map is lost")));
                }
                builder.put_subtree(level, place, id, self.collector)?;
            }
            region += 1 << (level * FAN_OUT_BITS);
        }
        Ok(())
    }

    async fn send_full_frames(&mut self) -> Result<()> {
        for frame in self.collector.take_full_frames() {
            // The packer hangs up only when it failed, and then its error is the one that counts.
            self.frames.send(frame).await.map_err(|_| Error::cancelled())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
