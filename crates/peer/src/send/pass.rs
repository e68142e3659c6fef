//! Going through one disk.

use std::sync::atomic::Ordering;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use image::{ByteRange, ExtentKind};
use model::TransferId;

use super::{SendProgress, ShippedBase, ShippedDisk, bandwidth::Throttle};
use crate::{
    Digest, DiskDigest, Error, PeerClient, Result,
    bitmap::Bitmap,
    region::{RegionChange, is_zero},
    transfer::{REGION_SIZE_BYTES, region_count, region_range},
};

/// Regions that are read, encoded and sent at once.
const REGIONS_AT_ONCE: usize = 4;

/// How much of a disk is looked at before any of it is read, in bytes.
const WINDOW_BYTES: u64 = 1 << 30;

/// One disk, on its way.
pub(super) struct Pass<'a> {
    pub(super) peer: &'a PeerClient,
    pub(super) id: TransferId,
    pub(super) place: usize,
    pub(super) disk: &'a ShippedDisk,
    /// None where the disk is sent whole.
    pub(super) base: Option<&'a ShippedBase>,
    pub(super) throttle: &'a Throttle,
    pub(super) progress: &'a SendProgress,
}

impl Pass<'_> {
    /// Sends what the peer lacks; returns the digest of all that it must have then.
    pub(super) async fn run(&self) -> Result<Digest> {
        let size_bytes = self.disk.image.size_bytes();
        let missing = &self.missing().await?;
        let mut digest = DiskDigest::new(size_bytes);
        for start_bytes in (0..size_bytes).step_by(WINDOW_BYTES as usize) {
            let window = ByteRange::between(start_bytes, size_bytes.min(start_bytes + WINDOW_BYTES));
            let regions = self.planned(window).await?;
            let mut passed_bytes = window.offset_bytes;
            let mut pass_to = |end_bytes: u64| {
                let passed = end_bytes.min(window.end_bytes()).saturating_sub(passed_bytes);
                passed_bytes += passed;
                self.progress.done_bytes.fetch_add(passed, Ordering::Relaxed);
            };
            let sent = stream::iter(regions)
                .map(|(region, changed)| async move {
                    let sent = self.one(region, changed, missing.has(region)).await;
                    sent.map(|digest| (region, digest))
                })
                .buffered(REGIONS_AT_ONCE)
                .try_for_each(|(region, of_region)| {
                    if let Some(of_region) = of_region {
                        digest.add(region, of_region);
                    }
                    pass_to((region + 1) * REGION_SIZE_BYTES);
                    async { Ok(()) }
                });
            sent.await?;
            pass_to(window.end_bytes());
        }
        Ok(digest.finish())
    }

    /// The regions that the peer lacks.
    async fn missing(&self) -> Result<Bitmap> {
        let mut missing = Bitmap::new(region_count(self.disk.image.size_bytes()));
        let mut next = Some(0);
        while let Some(first) = next {
            let answer = self.peer.missing_regions(self.id, self.place, first).await?;
            answer.runs.iter().for_each(|&(first, count)| missing.add(first, count));
            next = answer.next;
            if next.is_some_and(|next| next <= first) {
                return Err(Error::invalid("the peer's answer makes no sense: it goes round in circles"));
            }
        }
        Ok(missing)
    }

    /// The regions of a window that may have to be there, with the ranges in each that may.
    async fn planned(&self, window: ByteRange) -> Result<Vec<(u64, Vec<ByteRange>)>> {
        let ranges = match self.base {
            Some(base) => base.changes.changed_within(window).await?,
            None => {
                let extents = self.disk.image.extents(window).await?;
                extents
                    .into_iter()
                    .filter(|extent| extent.kind == ExtentKind::Data)
                    .map(|extent| extent.range)
                    .collect()
            }
        };
        let mut regions: Vec<(u64, Vec<ByteRange>)> = Vec::new();
        for range in image::coalesce(ranges.into_iter().map(aligned).collect()) {
            let mut rest = range.intersection(window);
            while !rest.is_empty() {
                let region = rest.offset_bytes / REGION_SIZE_BYTES;
                let piece = rest.intersection(ByteRange::new(region * REGION_SIZE_BYTES, REGION_SIZE_BYTES));
                match regions.last_mut() {
                    Some((last, pieces)) if *last == region => pieces.push(piece),
                    _ => regions.push((region, vec![piece])),
                }
                rest = ByteRange::between(piece.end_bytes(), rest.end_bytes());
            }
        }
        Ok(regions)
    }

    /// Reads a region, and sends it where the peer lacks it; returns its digest. None of one that need not be there after all.
    async fn one(&self, region: u64, changed: Vec<ByteRange>, is_missing: bool) -> Result<Option<Digest>> {
        let range = region_range(self.disk.image.size_bytes(), region)
            .ok_or_else(|| Error::invalid("a change lies beyond the end of the disk"))?;
        let mut content = vec![0; range.length_bytes as usize];
        self.disk.image.read_at(range.offset_bytes, &mut content).await?;
        let is_whole = self.base.is_none();
        if is_whole && is_zero(&content) {
            return Ok(None);
        }
        if !is_missing {
            return Ok(Some(Digest::of(&content)));
        }
        let in_region = |piece: ByteRange| {
            (piece.offset_bytes - range.offset_bytes) as usize
                ..(piece.end_bytes() - range.offset_bytes) as usize
        };
        let changed: Vec<_> = changed.into_iter().map(in_region).collect();
        let change = RegionChange::new(&content, &changed, is_whole);
        drop(content);
        let body = change.encode();
        let length_bytes = body.len() as u64;
        self.throttle.pass(length_bytes).await;
        self.peer.put_region(self.id, self.place, region, body.into()).await?;
        self.progress.sent_bytes.fetch_add(length_bytes, Ordering::Relaxed);
        Ok(Some(change.digest()))
    }
}

/// The range widened to whole sectors.
fn aligned(range: ByteRange) -> ByteRange {
    let start_bytes = range.offset_bytes / 512 * 512;
    ByteRange::between(start_bytes, range.end_bytes().next_multiple_of(512))
}
