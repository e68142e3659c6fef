//! Healing the index: segments come from copies, or are made anew from the packs.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use super::{Cure, DamagedObject, Repair};
use crate::{
    ChunkId, Digest, DiskMap, Error, ErrorKind, Result,
    codec::PREAMBLE_BYTES,
    flaw::Flaw,
    index::{SEGMENT_BYTES_MAX, Segment},
    log::State,
    pack::{OpenPack, PACK_BYTES_MAX},
    store::ObjectKind,
    tree::{FAN_OUT_BITS, Located, TreeReader},
};

/// Leaves of disk maps that are remembered, for disks that share them.
const LEAVES_REMEMBERED_MAX: usize = 500_000;

/// Segments that leave the index, and those that come instead.
#[derive(Default)]
pub(super) struct Swap {
    pub(super) lost: Vec<(Digest, Error)>,
    pub(super) rebuilt: Vec<Digest>,
    /// Chunks that points need were in no segment, though none was lost.
    is_incomplete: bool,
    /// Packs that could not be listed.
    unreadable_packs: u64,
    /// Chunks that points need are in no segment even now.
    still_misses: bool,
}

impl Repair<'_> {
    /// Heals the segments of the index, and reads it. Where some are lost, or chunks that points need are in none, lists anew
    /// what is in packs that no other lists. `state` is then a later one, if segments were replaced meanwhile.
    pub(super) async fn heal_segments(&mut self, state: &mut State) -> Result<Swap> {
        let kind = ObjectKind::IndexSegment;
        let mut swap = Swap::default();
        for (segment, error) in self.read_index(state).await? {
            match self.heal(kind, &segment, SEGMENT_BYTES_MAX).await? {
                Some((bytes, cure)) => {
                    let healed = Segment::decode(&self.shared.keys, &bytes)?;
                    self.shared.add_segment(segment, healed).await?;
                    self.report.add(DamagedObject::IndexSegment(segment), error.to_string(), Some(cure));
                }
                None => swap.lost.push((segment, error)),
            }
        }
        // A segment stays in the log for somebody who can read data, and so list again what is in packs.
        if self.shared.keys.check_can_read().is_err() {
            for (segment, error) in std::mem::take(&mut swap.lost) {
                self.report.add(DamagedObject::IndexSegment(segment), error.to_string(), None);
            }
            return Ok(swap);
        }
        let unlisted = self.unlisted_packs(state).await?;
        swap.is_incomplete =
            swap.lost.is_empty() && !unlisted.is_empty() && self.misses_chunks(state).await?;
        if !swap.lost.is_empty() || swap.is_incomplete {
            self.rebuild(unlisted, &mut swap).await?;
            swap.still_misses = self.misses_chunks(state).await?;
        }
        Ok(swap)
    }

    /// Says what became of the index.
    pub(super) fn report_index(&mut self, swap: Swap) {
        let is_whole = swap.unreadable_packs == 0 && !swap.still_misses;
        let shortfall = match swap.unreadable_packs {
            _ if is_whole => String::new(),
            0 => "; packs that it listed are gone".to_owned(),
            count => format!("; listed anew, but for {count} packs that cannot be read"),
        };
        let cure = is_whole.then_some(Cure::Rebuilt);
        for (segment, error) in swap.lost {
            self.report.add(DamagedObject::IndexSegment(segment), format!("{error}{shortfall}"), cure);
        }
        if swap.is_incomplete {
            let reason = format!("chunks that points need are in packs that no segment lists{shortfall}");
            self.report.add(DamagedObject::Index, reason, cure);
        }
    }

    /// Brings the index to the vault's state. A segment that is gone is lost only if nobody has replaced it since.
    async fn read_index(&self, state: &mut State) -> Result<Vec<(Digest, Error)>> {
        loop {
            let unreadable = self.shared.follow(state).await?;
            if unreadable.iter().all(|(_, error)| error.kind() != ErrorKind::NotFound) {
                return Ok(unreadable);
            }
            let later = self.state_now().await?;
            if later.sequence <= state.sequence {
                return Ok(unreadable);
            }
            *state = later;
        }
    }

    /// The packs that are in the store, that no segment lists, and that nobody has given up.
    async fn unlisted_packs(&self, state: &State) -> Result<BTreeSet<Digest>> {
        let mut listed: BTreeSet<Digest> = self.shared.index.packs().iter().map(|pack| pack.digest).collect();
        if !self.shared.has_flaw(Flaw::RepairListsCondemned) {
            listed.extend(state.body.garbage.values().flat_map(|garbage| &garbage.packs));
        }
        let stored = self.shared.store.list(ObjectKind::Pack).await?;
        Ok(stored.into_iter().map(|(pack, _)| pack).filter(|pack| !listed.contains(pack)).collect())
    }

    /// Whether a point needs a chunk that no segment lists. What lies below a node that cannot be read is not known.
    async fn misses_chunks(&self, state: &State) -> Result<bool> {
        let objects = state.body.points.values().map(|point| point.object).collect();
        let mut seen = HashSet::new();
        for record in self.shared.read_points(objects).await?.points {
            for map in record.maps {
                if self.misses_chunks_of(map, &mut seen).await? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn misses_chunks_of(&self, map: DiskMap, seen: &mut HashSet<ChunkId>) -> Result<bool> {
        let tree = TreeReader::new(Arc::clone(&self.shared), map);
        let is_listed = |id: &ChunkId| Ok::<_, Error>(self.shared.index.find(id)?.is_some());
        if let Some(root) = map.root
            && !is_listed(&root)?
        {
            return Ok(true);
        }
        let mut region = 0;
        while region < map.region_count() {
            let leaf = match tree.locate(region).await {
                Ok(Located::HoleUntil(next)) => {
                    region = next;
                    continue;
                }
                Ok(Located::Leaf(id)) if seen.contains(&id) => Ok(Arc::default()),
                Ok(Located::Leaf(id)) if !is_listed(&id)? => return Ok(true),
                Ok(Located::Leaf(id)) => {
                    if seen.len() < LEAVES_REMEMBERED_MAX {
                        seen.insert(id);
                    }
                    tree.load_leaf(region, id).await
                }
                Err(error) => Err(error),
            };
            match leaf {
                Ok(leaf) => {
                    for chunk in &leaf.chunks {
                        if !is_listed(&chunk.id)? {
                            return Ok(true);
                        }
                    }
                }
                Err(error) if error.is_damage() => {
                    if self.misses_node(&tree, region).await? {
                        return Ok(true);
                    }
                }
                Err(error) => return Err(error),
            }
            region += 1;
        }
        Ok(false)
    }

    /// Whether a region cannot be found because a node on the way to it is in no segment.
    async fn misses_node(&self, tree: &TreeReader, region: u64) -> Result<bool> {
        for level in (0..tree.map().root_level()).rev() {
            match tree.node_id(level, region >> (level * FAN_OUT_BITS)).await {
                Ok(Some(id)) if self.shared.index.find(&id)?.is_none() => return Ok(true),
                Ok(_) => {}
                Err(error) if error.is_damage() => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Writes segments of these packs, and takes them into the index.
    async fn rebuild(&self, packs: BTreeSet<Digest>, swap: &mut Swap) -> Result<()> {
        let mut segment = Segment::default();
        for pack in packs {
            swap.unreadable_packs += u64::from(!self.add_pack(&mut segment, &pack).await?);
            if segment.chunks.len() >= self.shared.segment_chunks {
                swap.rebuilt.extend(self.write(std::mem::take(&mut segment)).await?);
            }
        }
        swap.rebuilt.extend(self.write(segment).await?);
        Ok(())
    }

    /// Lists a pack. Returns whether it could be read.
    async fn add_pack(&self, segment: &mut Segment, pack: &Digest) -> Result<bool> {
        let bytes = match self.shared.store.get(ObjectKind::Pack, pack, PACK_BYTES_MAX).await {
            Ok(bytes) => bytes,
            // Somebody has deleted it, or the listing was late: it is nobody's any more.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            Err(error) if error.is_damage() => {
                let Some((bytes, _)) = self.heal(ObjectKind::Pack, pack, PACK_BYTES_MAX).await? else {
                    return Ok(false);
                };
                bytes
            }
            Err(error) => return Err(error),
        };
        let open = match OpenPack::parse(&bytes, &self.shared.keys) {
            Ok(open) => open,
            Err(error) if error.is_damage() => {
                tracing::warn!(%pack, %error, "a pack cannot be listed");
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let salt = bytes.get(PREAMBLE_BYTES..).and_then(|rest| rest.first_chunk());
        let salt = *salt.ok_or_else(|| Error::corrupt(format!("pack {pack} ends too early")))?;
        let frames: Vec<_> = open.frames.into_iter().map(|(frame, _)| frame).collect();
        segment.add_pack(*pack, salt, &frames);
        Ok(true)
    }

    async fn write(&self, mut segment: Segment) -> Result<Option<Digest>> {
        if segment.chunks.is_empty() {
            return Ok(None);
        }
        let digest = match self.is_dry {
            true => Digest::of(&self.shared.encode_segment(&mut segment)),
            false => self.shared.store_segment(&mut segment).await?,
        };
        self.shared.add_segment(digest, segment).await?;
        Ok(Some(digest))
    }
}
