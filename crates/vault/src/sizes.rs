//! What recovery points take: what they refer to, and what would be given back if they were gone. Told from maps and index;
//! no data is read.
//!
//! A walk over all maps notes of every chunk which point needs it, or that several do. Nodes are chunks too: below one that
//! several points are known to need, everything is needed by several, so that each node is read three times at the most,
//! however many points share it.

use std::{collections::HashMap, sync::Arc};

use futures::future::BoxFuture;
use model::{ByteCount, PointId, VmId};

use crate::{
    ChunkId, Result, Vault,
    frame::FrameKind,
    index::{Frozen, Ordinal, Pages},
    log::State,
    tree::References,
    vault::Shared,
};

/// What a recovery point takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PointSize {
    /// Bytes of data on its disks: what is not zero, as the disks hold it.
    pub used_bytes: ByteCount,
    /// Bytes in the store that no other point needs: what a collection gives back when it is purged, give or take what
    /// packs hold beside it.
    pub unique_bytes: ByteCount,
}

/// What points take, at one state of the vault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Each point.
    pub points: HashMap<PointId, PointSize>,
    /// Bytes in the store that only points of one VM need.
    pub vms: HashMap<VmId, ByteCount>,
}

impl Vault {
    /// What each point takes, deleted ones included, and what all points of a VM do together. Reads all maps, each node three
    /// times at the most, and looks up every chunk; nothing where nothing has changed since the last time. Takes 8 bytes of memory a
    /// chunk and about 50 a node.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] when a map is damaged; whatever keeps the store from being read.
    pub async fn sizes(&self) -> Result<Arc<Sizes>> {
        let mut known = self.shared.sizes.lock().await;
        let state = self.shared.refresh_to_read().await?.state;
        match &*known {
            Some((sequence, sizes)) if *sequence == state.sequence => return Ok(Arc::clone(sizes)),
            _ => {}
        }
        let sizes = Arc::new(self.shared.add_up(&state).await?);
        *known = Some((state.sequence, Arc::clone(&sizes)));
        Ok(sizes)
    }
}

impl Shared {
    async fn add_up(self: &Arc<Self>, state: &State) -> Result<Sizes> {
        let (index, threads) = (Arc::clone(&self.index), self.env.threads);
        let frozen = threads.run(move || index.freeze()).await?;
        let mut walk = Walk::new(Arc::clone(self), frozen);
        let mut sizes = Sizes::default();
        let mut vms: Vec<VmId> = state.body.points.values().map(|point| point.vm_id).collect();
        vms.sort_unstable();
        vms.dedup();
        for (number, (id, point)) in (1_u32..).zip(&state.body.points) {
            let vm = vms.binary_search(&point.vm_id).unwrap_or_default();
            let by = Needed { point: number, vm: u32::try_from(vm).unwrap_or(MANY - 1) + 1 };
            let mut used_bytes = 0;
            for root in &point.roots {
                used_bytes += walk.visit(*root, by).await?;
            }
            let size = PointSize { used_bytes: ByteCount(used_bytes), ..PointSize::default() };
            sizes.points.insert(*id, size);
        }
        let (point_count, vm_count) = (state.body.points.len(), vms.len());
        let unique = threads.run(move || walk.unique(point_count, vm_count)).await??;
        for (id, unique_bytes) in state.body.points.keys().zip(unique.points) {
            sizes.points.entry(*id).or_default().unique_bytes = ByteCount(unique_bytes);
        }
        sizes.vms = vms.into_iter().zip(unique.vms.into_iter().map(ByteCount)).collect();
        Ok(sizes)
    }
}

/// By whom a chunk is needed, as numbers from 1 on; 0 is nobody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Needed {
    point: u32,
    vm: u32,
}

/// Several.
const MANY: u32 = u32::MAX;

impl Needed {
    /// Adds somebody. Returns whether anything changed.
    fn add(&mut self, by: Self) -> bool {
        let join = |now: u32, by: u32| match now {
            0 => by,
            now if now == by => now,
            _ => MANY,
        };
        let joined = Self { point: join(self.point, by.point), vm: join(self.vm, by.vm) };
        std::mem::replace(self, joined) != joined
    }
}

#[derive(Debug, Default)]
struct Unique {
    points: Vec<u64>,
    vms: Vec<u64>,
}

struct Walk {
    shared: Arc<Shared>,
    frozen: Frozen,
    pages: Pages,
    /// By the chunk's number in the index.
    needed: Vec<Needed>,
    /// The bytes of data below a node.
    below: HashMap<ChunkId, u64>,
}

impl Walk {
    fn new(shared: Arc<Shared>, frozen: Frozen) -> Self {
        Self { shared, frozen, pages: Pages::default(), needed: Vec::new(), below: HashMap::new() }
    }

    /// Notes that a node and all below it are needed. Returns the bytes of data below.
    fn visit(&mut self, node: ChunkId, by: Needed) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let is_news = self.note(&node, by)?.is_some_and(|(is_news, _)| is_news);
            if let Some(bytes) = self.below.get(&node).filter(|_| !is_news) {
                return Ok(*bytes);
            }
            let content = self.shared.read_chunk(FrameKind::Tree, node, None).await?;
            let mut bytes = 0;
            match References::of_node(&content)? {
                References::Nodes(children) => {
                    for child in children {
                        bytes += self.visit(child, by).await?;
                    }
                }
                References::Data(chunks) => {
                    for chunk in chunks {
                        bytes += self.note(&chunk, by)?.map_or(0, |(_, length_bytes)| length_bytes);
                    }
                }
            }
            self.below.insert(node, bytes);
            Ok(bytes)
        })
    }

    /// Notes that a chunk is needed. Returns whether that is news, and the chunk's length; none for one that is lost.
    fn note(&mut self, id: &ChunkId, by: Needed) -> Result<Option<(bool, u64)>> {
        let Some((Ordinal(ordinal), place)) = self.frozen.find(id, &mut self.pages)? else { return Ok(None) };
        let place_in_list = ordinal as usize;
        if place_in_list >= self.needed.len() {
            self.needed.resize(place_in_list + 1, Needed::default());
        }
        Ok(Some((self.needed[place_in_list].add(by), u64::from(place.length_bytes))))
    }

    /// Adds up what only one point, or only one VM, needs: of each frame the chunk's share.
    fn unique(self, points: usize, vms: usize) -> Result<Unique> {
        let mut unique = Unique { points: vec![0; points], vms: vec![0; vms] };
        let index = &self.shared.index;
        self.frozen.for_each(|Ordinal(ordinal), _, place, _| {
            let Some(needed) = self.needed.get(ordinal as usize) else { return Ok(()) };
            let Some(frame) = index.frame(place.frame) else { return Ok(()) };
            let share = u64::from(place.length_bytes) * u64::from(frame.head.stored_bytes);
            let share = share / u64::from(frame.head.raw_bytes.max(1));
            let sums = [(&mut unique.points, needed.point), (&mut unique.vms, needed.vm)];
            for (sums, number) in sums.into_iter().filter(|(_, number)| !matches!(*number, 0 | MANY)) {
                if let Some(sum) = sums.get_mut(number as usize - 1) {
                    *sum += share;
                }
            }
            Ok(())
        })?;
        Ok(unique)
    }
}

#[cfg(test)]
mod tests;
