//! Which chunks are needed, and in which pack each of them is kept. All that a collection asks of the index.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use crate::{
    ChunkId, Digest, Result,
    frame::FrameKind,
    index::{self, Frozen, Index, PackNumber, Pages},
    vault::Shared,
};

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
}

/// A needed chunk, and the pack that keeps it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) kind: FrameKind,
    pub(super) id: ChunkId,
    pub(super) length_bytes: u32,
    pub(super) pack: Digest,
}

/// The chunks that are needed: a bit for each record of the index. Where a chunk has several records, the one that a reader
/// would choose keeps it, and the others are not needed. One that is added later and chosen from then on is marked too.
pub(super) struct Marks {
    shared: Arc<Shared>,
    frozen: Arc<Frozen>,
    kept: Arc<index::Marks>,
    pages: Pages,
    /// The packs of those that were marked last.
    touched: BTreeMap<PackNumber, Digest>,
}

impl Marks {
    pub(super) async fn new(shared: Arc<Shared>) -> Result<Self> {
        let index = Arc::clone(&shared.index);
        let frozen = Arc::new(shared.env.threads.run(move || index.freeze()).await?);
        Ok(Self { shared, frozen, kept: Arc::default(), pages: Pages::default(), touched: BTreeMap::new() })
    }

    pub(super) fn mark(&mut self, id: &ChunkId) -> Result<Mark> {
        let Some((ordinal, place)) = self.frozen.find(id, &mut self.pages)? else { return Ok(Mark::Absent) };
        if !Arc::make_mut(&mut self.kept).insert(ordinal) {
            return Ok(Mark::Known);
        }
        let index = &self.shared.index;
        if let Some(pack) = index.pack_of(place.frame)
            && !self.touched.contains_key(&pack)
        {
            self.touched.extend(index.frame(place.frame).map(|frame| (pack, frame.pack)));
        }
        Ok(Mark::New)
    }

    /// The packs that keep the chunks which were marked since this was asked last.
    pub(super) fn take_touched(&mut self) -> BTreeSet<Digest> {
        mem::take(&mut self.touched).into_values().collect()
    }

    /// The pack that keeps a needed chunk, and what kind of chunk it is.
    pub(super) fn keeper(&self, id: &ChunkId) -> Result<Option<(FrameKind, Digest)>> {
        Ok(self.shared.index.find(id)?.map(|(_, frame)| (frame.head.kind, frame.pack)))
    }

    /// What every pack of the index holds.
    pub(super) async fn usage(&self) -> Result<BTreeMap<Digest, Usage>> {
        self.look(|index, frozen, kept| {
            let listed = index.packs();
            let (mut known, mut listed_twice) = (BTreeSet::new(), BTreeSet::new());
            for pack in &listed {
                if !known.insert(pack.digest) {
                    listed_twice.insert(pack.digest);
                }
            }
            let numbers: Vec<PackNumber> = listed.iter().map(|pack| pack.number).collect();
            let mut usages = vec![Usage::default(); listed.len()];
            frozen.for_each(|ordinal, id, place, pack| {
                let Ok(number) = numbers.binary_search(&pack) else { return Ok(()) };
                let digest = listed[number].digest;
                // Of two records of one chunk in one pack, the one that a reader would choose counts.
                if !listed_twice.is_empty()
                    && listed_twice.contains(&digest)
                    && index.find(&id)?.is_some_and(|(_, chosen)| chosen.pack == digest)
                    && frozen.ordinal(&id)? != Some(ordinal)
                {
                    return Ok(());
                }
                let length_bytes = u64::from(place.length_bytes);
                usages[number].total_bytes += length_bytes;
                usages[number].live_bytes += if kept.contains(ordinal) { length_bytes } else { 0 };
                Ok(())
            })?;
            let mut by_pack: BTreeMap<Digest, Usage> = BTreeMap::new();
            for (pack, usage) in listed.iter().zip(usages) {
                let of_pack = by_pack.entry(pack.digest).or_default();
                of_pack.total_bytes += usage.total_bytes;
                of_pack.live_bytes += usage.live_bytes;
            }
            Ok(by_pack)
        })
        .await
    }

    /// The needed chunks that these packs keep, in the order in which they lie there.
    pub(super) async fn kept_in(&self, packs: BTreeSet<Digest>) -> Result<Vec<Kept>> {
        self.look(move |index, frozen, kept| {
            let numbers = numbers_of(index, &packs);
            let mut found = Vec::new();
            frozen.for_each(|ordinal, id, place, pack| {
                if kept.contains(ordinal)
                    && numbers.contains(&pack)
                    && let Some(frame) = index.frame(place.frame)
                {
                    let kind = frame.head.kind;
                    let kept = Kept { kind, id, length_bytes: place.length_bytes, pack: frame.pack };
                    found.push((frame.number_in_pack, place.offset_bytes, kept));
                }
                Ok(())
            })?;
            found.sort_unstable_by_key(|(frame, offset_bytes, kept)| (kept.pack, *frame, *offset_bytes));
            // Two segments may list the same pack.
            found.dedup_by_key(|(_, _, kept)| (kept.pack, kept.id));
            Ok(found.into_iter().map(|(_, _, kept)| kept).collect())
        })
        .await
    }

    /// The needed chunks of which these packs hold copies, while others keep them.
    pub(super) async fn copied_in(&self, packs: BTreeSet<Digest>) -> Result<BTreeSet<ChunkId>> {
        self.look(move |index, frozen, kept| {
            let numbers = numbers_of(index, &packs);
            let mut found = BTreeSet::new();
            frozen.for_each(|ordinal, id, _, pack| {
                if !kept.contains(ordinal)
                    && numbers.contains(&pack)
                    && frozen.ordinal(&id)?.is_some_and(|chosen| kept.contains(chosen))
                {
                    found.insert(id);
                }
                Ok(())
            })?;
            Ok(found)
        })
        .await
    }

    /// Looks at the whole index, on a thread that may.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Index, &Frozen, &index::Marks) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let index = Arc::clone(&self.shared.index);
        let (frozen, kept) = (Arc::clone(&self.frozen), Arc::clone(&self.kept));
        self.shared.env.threads.run(move || look(&index, &frozen, &kept)).await?
    }
}

/// The numbers of these packs: of each as many as segments list it.
fn numbers_of(index: &Index, packs: &BTreeSet<Digest>) -> BTreeSet<PackNumber> {
    index.packs().iter().filter(|pack| packs.contains(&pack.digest)).map(|pack| pack.number).collect()
}
