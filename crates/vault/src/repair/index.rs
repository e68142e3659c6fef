//! Healing the index: segments come from copies, or are made anew from the packs.

use std::collections::BTreeSet;

use super::{Cure, DamagedObject, Repair};
use crate::{
    Digest, Error, Result,
    codec::PREAMBLE_BYTES,
    index::{SEGMENT_BYTES_MAX, Segment},
    log::State,
    pack::{OpenPack, PACK_BYTES_MAX},
    store::ObjectKind,
};

/// Chunks after which a segment is written.
const SEGMENT_CHUNKS: usize = 64 << 10;

/// Segments that leave the index, and those that come instead.
pub(super) struct Swap {
    pub(super) lost: Vec<Digest>,
    pub(super) rebuilt: Vec<Digest>,
}

impl Repair<'_> {
    /// Heals the segments of the index, and reads it. Where some are lost, lists anew what is in packs that no other lists.
    pub(super) async fn heal_segments(&mut self, state: &State) -> Result<Swap> {
        let kind = ObjectKind::IndexSegment;
        let mut lost = Vec::new();
        for (segment, error) in self.shared.follow(state).await? {
            match self.heal(kind, &segment, SEGMENT_BYTES_MAX).await? {
                Some(bytes) => {
                    let healed = Segment::decode(&self.shared.keys, &bytes)?;
                    self.shared.add_segment(segment, healed).await?;
                    self.report.add(
                        DamagedObject::IndexSegment(segment),
                        error.to_string(),
                        Some(Cure::Copied),
                    );
                }
                None => lost.push((segment, error)),
            }
        }
        let rebuilt = if lost.is_empty() { Vec::new() } else { self.rebuild(state).await? };
        for (segment, error) in &lost {
            self.report.add(DamagedObject::IndexSegment(*segment), error.to_string(), Some(Cure::Rebuilt));
        }
        Ok(Swap { lost: lost.into_iter().map(|(segment, _)| segment).collect(), rebuilt })
    }

    /// Writes segments of the packs that are in the store and that no segment lists.
    async fn rebuild(&self, state: &State) -> Result<Vec<Digest>> {
        let mut listed: BTreeSet<Digest> = self.shared.index.packs().iter().map(|pack| pack.digest).collect();
        listed.extend(state.body.garbage.values().flat_map(|garbage| &garbage.packs));
        let stored = self.shared.store.list(ObjectKind::Pack).await?;
        let unlisted: BTreeSet<Digest> =
            stored.into_iter().map(|(pack, _)| pack).filter(|pack| !listed.contains(pack)).collect();
        let (mut segments, mut segment) = (Vec::new(), Segment::default());
        for pack in unlisted {
            self.add_pack(&mut segment, &pack).await?;
            if segment.chunks.len() >= SEGMENT_CHUNKS {
                segments.extend(self.write(std::mem::take(&mut segment)).await?);
            }
        }
        segments.extend(self.write(segment).await?);
        Ok(segments)
    }

    async fn add_pack(&self, segment: &mut Segment, pack: &Digest) -> Result<()> {
        let bytes = match self.shared.store.get(ObjectKind::Pack, pack, PACK_BYTES_MAX).await {
            Ok(bytes) => bytes,
            Err(error) if error.is_damage() => {
                let Some(bytes) = self.heal(ObjectKind::Pack, pack, PACK_BYTES_MAX).await? else {
                    return Ok(());
                };
                bytes
            }
            Err(error) => return Err(error),
        };
        let open = match OpenPack::parse(&bytes, &self.shared.keys) {
            Ok(open) => open,
            Err(error) if error.is_damage() => {
                tracing::warn!(%pack, %error, "a pack cannot be listed");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let salt = bytes.get(PREAMBLE_BYTES..).and_then(|rest| rest.first_chunk());
        let salt = *salt.ok_or_else(|| Error::corrupt(format!("pack {pack} ends too early")))?;
        let frames: Vec<_> = open.frames.into_iter().map(|(frame, _)| frame).collect();
        segment.add_pack(*pack, salt, &frames);
        Ok(())
    }

    async fn write(&self, mut segment: Segment) -> Result<Option<Digest>> {
        if segment.chunks.is_empty() || self.is_dry {
            return Ok(None);
        }
        segment.sort();
        let bytes = segment.encode(&self.shared.keys, env::random(&*self.shared.env.entropy));
        self.shared.store.put(ObjectKind::IndexSegment, bytes).await.map(Some)
    }
}
