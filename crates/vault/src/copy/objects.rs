//! Sending objects that are named by their digest, and taking away those that are garbage.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};

use super::Copy;
use crate::{
    Digest, Error, Result,
    index::{SEGMENT_BYTES_MAX, Segment},
    log::state::Garbage,
    pack::PACK_BYTES_MAX,
    point::POINT_BYTES_MAX,
    store::ObjectKind,
};

/// Packs that are on their way at once.
const PACKS_AT_ONCE: usize = 4;

/// Objects that are deleted at once.
const DELETES_AT_ONCE: usize = 16;

/// What became of an object that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is in the copy now.
    Now,
    /// It was there before.
    Before,
    /// The vault has it no longer, or damaged.
    Lost,
}

impl Copy<'_> {
    /// Sends index segments and, before each, the packs that it lists. Returns how many objects the vault does not have.
    pub(super) async fn send_segments(&mut self, segments: &[Digest]) -> Result<u64> {
        let mut lost = 0;
        for digest in segments {
            let kind = ObjectKind::IndexSegment;
            let bytes = match self.source.store.get(kind, digest, SEGMENT_BYTES_MAX).await {
                Ok(bytes) => bytes,
                Err(error) if error.is_damage() => {
                    lost += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let packs = Segment::decode(&self.source.keys, &bytes)?.pack_sizes();
            lost += self.send_packs(packs).await?;
            self.target.put(kind, bytes).await?;
        }
        Ok(lost)
    }

    async fn send_packs(&mut self, packs: Vec<(Digest, u64)>) -> Result<u64> {
        self.monitor.extend(packs.iter().map(|(_, size_bytes)| size_bytes).sum())?;
        let this = &*self;
        let mut sending = stream::iter(packs)
            .map(|(pack, size_bytes)| async move {
                let (sent, sent_bytes) = this.send(ObjectKind::Pack, &pack, PACK_BYTES_MAX).await?;
                this.monitor.advance(size_bytes)?;
                Ok::<_, Error>((sent, sent_bytes))
            })
            .buffer_unordered(PACKS_AT_ONCE)
            .boxed();
        let (mut packs, mut bytes, mut lost) = (0, 0, 0);
        while let Some((sent, sent_bytes)) = sending.try_next().await? {
            bytes += sent_bytes;
            packs += u64::from(sent == Sent::Now);
            lost += u64::from(sent == Sent::Lost);
        }
        drop(sending);
        self.report.packs += packs;
        self.report.bytes.0 += bytes;
        Ok(lost)
    }

    /// Sends the objects of points. Returns how many the vault does not have.
    pub(super) async fn send_points(&mut self, points: &[Digest]) -> Result<u64> {
        let mut lost = 0;
        for point in points {
            let (sent, _) = self.send(ObjectKind::Point, point, POINT_BYTES_MAX).await?;
            lost += u64::from(sent == Sent::Lost);
        }
        Ok(lost)
    }

    /// Sends an object that the copy does not have, checked against its name. Returns the bytes sent.
    async fn send(&self, kind: ObjectKind, digest: &Digest, limit_bytes: u64) -> Result<(Sent, u64)> {
        if self.target.head(kind, digest).await?.is_some() {
            return Ok((Sent::Before, 0));
        }
        match self.source.store.get(kind, digest, limit_bytes).await {
            Ok(bytes) => {
                let sent_bytes = bytes.len() as u64;
                self.target.put(kind, bytes).await?;
                Ok((Sent::Now, sent_bytes))
            }
            Err(error) if error.is_damage() => {
                tracing::warn!(%error, "an object of the vault is not copied");
                Ok((Sent::Lost, 0))
            }
            Err(error) => Err(error),
        }
    }

    /// The packs that an index segment lists; none where neither the copy nor the vault has it sound.
    pub(super) async fn packs_of(&self, segment: &Digest) -> Result<Option<BTreeSet<Digest>>> {
        for store in [&self.target, &self.source.store] {
            match store.get(ObjectKind::IndexSegment, segment, SEGMENT_BYTES_MAX).await {
                Ok(bytes) => {
                    let listed = Segment::decode(&self.source.keys, &bytes)?.packs;
                    return Ok(Some(listed.iter().map(|pack| pack.digest).collect()));
                }
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Deletes garbage, in the order in which things need each other.
    pub(super) async fn delete(&self, garbage: &Garbage) -> Result<()> {
        let kinds = [
            (ObjectKind::Point, &garbage.points),
            (ObjectKind::IndexSegment, &garbage.segments),
            (ObjectKind::Pack, &garbage.packs),
        ];
        for (kind, digests) in kinds {
            stream::iter(digests)
                .map(Ok::<_, Error>)
                .try_for_each_concurrent(DELETES_AT_ONCE, |digest| self.target.delete(kind, digest))
                .await?;
        }
        Ok(())
    }
}
