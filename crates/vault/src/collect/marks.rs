//! Which chunks are needed, and in which pack each of them is kept. All that a collection asks of the index.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{ChunkId, Digest, frame::FrameKind, sync, vault::Shared};

/// What marking a chunk found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// It was not marked before.
    New,
    Known,
    /// No segment lists it.
    Absent,
}

/// What a pack holds, in bytes of expanded chunks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) live_bytes: u64,
    pub(super) total_bytes: u64,
    /// It holds copies of needed chunks that are kept in other packs.
    pub(super) has_copies: bool,
}

/// The chunks that are needed.
pub(super) struct Marks {
    shared: Arc<Shared>,
    /// Of each, a frame that has it: the only one that keeps it.
    frames: HashMap<ChunkId, u32>,
    /// The packs of those that were marked last.
    touched: BTreeSet<Digest>,
}

impl Marks {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, frames: HashMap::new(), touched: BTreeSet::new() }
    }

    pub(super) fn mark(&mut self, id: &ChunkId) -> Mark {
        if self.frames.contains_key(id) {
            return Mark::Known;
        }
        let index = sync::read(&self.shared.index);
        let found = index.find(id).and_then(|place| Some((place.frame, index.frame(place.frame)?.pack)));
        let Some((frame, pack)) = found else { return Mark::Absent };
        drop(index);
        self.frames.insert(*id, frame);
        self.touched.insert(pack);
        Mark::New
    }

    /// Chooses the pack of a needed chunk anew, after the one that was chosen turned out to be damaged.
    pub(super) fn choose_again(&mut self, id: &ChunkId) {
        let place = sync::read(&self.shared.index).find(id);
        self.frames.extend(place.map(|place| (*id, place.frame)));
    }

    /// The packs that keep the chunks which were marked since this was asked last.
    pub(super) fn take_touched(&mut self) -> BTreeSet<Digest> {
        std::mem::take(&mut self.touched)
    }

    /// What every pack of the index holds.
    pub(super) fn usage(&self) -> BTreeMap<Digest, Usage> {
        let index = sync::read(&self.shared.index);
        let mut usage: BTreeMap<Digest, Usage> = index.packs().map(|pack| (pack, Usage::default())).collect();
        index.for_each(|id, place| {
            let Some(pack) = index.frame(place.frame).map(|frame| frame.pack) else { return };
            let usage = usage.entry(pack).or_default();
            usage.total_bytes += u64::from(place.length_bytes);
            match self.frames.get(&id).and_then(|frame| index.frame(*frame)) {
                Some(kept) if kept.pack == pack => usage.live_bytes += u64::from(place.length_bytes),
                Some(_) => usage.has_copies = true,
                None => {}
            }
        });
        usage
    }

    /// The needed chunks that these packs keep, in the order in which they lie there, and the pack of each.
    pub(super) fn kept_in(&self, packs: &BTreeSet<Digest>) -> Vec<(FrameKind, ChunkId, Digest)> {
        let index = sync::read(&self.shared.index);
        let mut found = Vec::new();
        index.for_each(|id, place| {
            // By the pack, not the frame: another segment may list the same pack by now.
            if let Some(kept) = self.frames.get(&id).and_then(|frame| index.frame(*frame))
                && let Some(frame) = index.frame(place.frame)
                && frame.pack == kept.pack
                && packs.contains(&frame.pack)
            {
                found.push((frame.pack, frame.number_in_pack, place.offset_bytes, frame.head.kind, id));
            }
        });
        found.sort_unstable_by_key(|(pack, frame, offset_bytes, ..)| (*pack, *frame, *offset_bytes));
        found.dedup_by_key(|(pack, .., id)| (*pack, *id));
        found.into_iter().map(|(pack, _, _, kind, id)| (kind, id, pack)).collect()
    }

    /// The needed chunks of which these packs hold copies, while others keep them.
    pub(super) fn copied_in(&self, packs: &BTreeSet<Digest>) -> BTreeSet<ChunkId> {
        let index = sync::read(&self.shared.index);
        let pack_of = |frame: u32| index.frame(frame).map(|frame| frame.pack);
        let mut found = BTreeSet::new();
        index.for_each(|id, place| {
            if let Some(kept) = self.frames.get(&id).and_then(|frame| pack_of(*frame))
                && let Some(pack) = pack_of(place.frame)
                && pack != kept
                && packs.contains(&pack)
            {
                found.insert(id);
            }
        });
        found
    }

    /// The pack that keeps a needed chunk, and what kind of chunk it is.
    pub(super) fn keeper(&self, id: &ChunkId) -> Option<(FrameKind, Digest)> {
        let frame = self.frames.get(id)?;
        let place = sync::read(&self.shared.index).frame(*frame)?;
        Some((place.head.kind, place.pack))
    }
}
