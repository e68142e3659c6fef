//! What the journal lacks is read from the live disks, while their guest goes on, or from a moment of them that is held.
//!
//! Of a disk of which it lacks everything, only that is copied which is not there: see [`super::compare`].

use std::sync::{Arc, atomic::Ordering};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use hypervisor::Missed;
use image::{ByteRange, ExtentKind};
use replication::Event;
use tap::Copied;

use super::{
    attach::{Attached, AttachedDisk, Source},
    compare::{self, There},
    figures::CopyProgress,
    interval,
    tasks::Shared,
};
use crate::failure::{Failure, Result};

/// What is read at once.
const PIECE_BYTES: u64 = 1 << 20;

/// How much of a disk is looked at for what it holds at once.
const STRETCH_BYTES: u64 = 256 << 20;

/// Zeros are copied in pieces of this size.
const ZEROS_BYTES: u64 = tap::COPY_BYTES_MAX;

/// Reads that are under way at once: the guest's own come first.
pub(super) const READS_AT_ONCE: usize = 4;

/// Copies everything, and tells that it has, or has not.
pub(super) async fn run(shared: Arc<Shared>, attached: Arc<Attached>) {
    let copied = copy_all(&shared, &attached);
    let event = match &attached.source {
        Source::Tap(_) => match copied.await {
            Ok(()) => Event::Copied(attached.attachment),
            Err(why) => Event::NotCopied(attached.attachment, why),
        },
        Source::Moment(moment) => interval::watch_over(&shared, &attached, moment, copied).await,
    };
    shared.tell(event);
}

async fn copy_all(shared: &Shared, attached: &Attached) -> std::result::Result<(), String> {
    let progress = shared.figures().copy.clone();
    let sum =
        attached.disks.iter().map(|disk| missed_of(disk).iter().map(|range| range.length_bytes).sum::<u64>());
    progress.total_bytes.store(sum.sum(), Ordering::Relaxed);
    progress.done_bytes.store(0, Ordering::Relaxed);
    progress.had_bytes.store(0, Ordering::Relaxed);
    let lacks_all = |disk: &AttachedDisk| matches!(disk.missed, Missed::All(_));
    let there = match attached.disks.iter().any(lacks_all) {
        false => There::unknown(),
        true => compare::there(shared, attached)
            .await
            .map_err(|failure| format!("the other site does not say what it has: {}", failure.detail()))?,
    };
    for disk in &attached.disks {
        let copied = match there.has_something_of(disk) && lacks_all(disk) {
            true => compare::copy_what_differs(shared, attached, disk, &progress).await,
            false => copy_disk(attached, disk, &there, &progress).await,
        };
        copied
            .map_err(|failure| format!("the disk {} could not be copied: {}", disk.name, failure.detail()))?;
    }
    Ok(())
}

/// Ranges of whole sectors within the disk.
fn missed_of(disk: &AttachedDisk) -> Vec<ByteRange> {
    let all = ByteRange::new(0, disk.size_bytes);
    let ranges = match &disk.missed {
        Missed::All(_) => return vec![all],
        Missed::Ranges(ranges) => ranges,
    };
    let whole = ranges.iter().map(|range| {
        let start = range.offset_bytes - range.offset_bytes % 512;
        ByteRange::between(start, range.end_bytes().next_multiple_of(512)).intersection(all)
    });
    image::coalesce(whole.filter(|range| !range.is_empty()).collect())
}

async fn copy_disk(
    attached: &Attached,
    disk: &AttachedDisk,
    there: &There,
    progress: &CopyProgress,
) -> Result<()> {
    let is_empty = there.is_empty(disk);
    for range in missed_of(disk) {
        for stretch in pieces(range, STRETCH_BYTES) {
            let planned = plan(disk, stretch, is_empty).await?;
            stream::iter(planned)
                .map(|piece| async move {
                    if let Some(piece) = piece.to_copy {
                        copy(attached, disk, piece).await?;
                    }
                    progress.done_bytes.fetch_add(piece.length_bytes, Ordering::Relaxed);
                    Ok::<_, Failure>(())
                })
                .buffer_unordered(READS_AT_ONCE)
                .try_collect::<()>()
                .await?;
        }
    }
    Ok(())
}

/// A piece of what is missed.
struct Piece {
    length_bytes: u64,
    /// None where the journal has it already: of a disk that is all zeros there, zeros are nothing to be copied.
    to_copy: Option<ByteRange>,
}

async fn plan(disk: &AttachedDisk, stretch: ByteRange, is_empty: bool) -> Result<Vec<Piece>> {
    let extents = disk.live.extents(stretch).await?;
    let mut planned = Vec::new();
    for extent in extents {
        let is_zero = extent.kind == ExtentKind::Zero;
        // A guest that writes there from now on hands it to the journal itself.
        if is_zero && is_empty {
            planned.push(Piece { length_bytes: extent.range.length_bytes, to_copy: None });
            continue;
        }
        let size_bytes = if is_zero { ZEROS_BYTES } else { PIECE_BYTES };
        let cut = pieces(extent.range, size_bytes);
        planned.extend(cut.map(|piece| Piece { length_bytes: piece.length_bytes, to_copy: Some(piece) }));
    }
    Ok(planned)
}

/// Copies one piece. It is looked at only after the journal knows of the copy: what is written meanwhile wins.
pub(super) async fn copy(attached: &Attached, disk: &AttachedDisk, piece: ByteRange) -> Result<()> {
    let failed = |error: tap::Error| Failure::of(api::Code::Failed, &error, error.guidance());
    let ticket = attached.client.begin_copy(disk.number, piece).await.map_err(failed)?;
    let extents = disk.live.extents(piece).await?;
    if extents.iter().all(|extent| extent.kind == ExtentKind::Zero) {
        return attached.client.finish_copy(ticket, Copied::Zero).await.map_err(failed);
    }
    let mut data = vec![0; piece.length_bytes as usize];
    disk.live.read_at(piece.offset_bytes, &mut data).await?;
    let copied = if data.iter().all(|byte| *byte == 0) { Copied::Zero } else { Copied::Data(&data) };
    attached.client.finish_copy(ticket, copied).await.map_err(failed)
}

/// A range in pieces that do not reach across multiples of their size.
pub(super) fn pieces(range: ByteRange, size_bytes: u64) -> impl Iterator<Item = ByteRange> {
    let mut start = range.offset_bytes;
    std::iter::from_fn(move || {
        let end = (start / size_bytes + 1).saturating_mul(size_bytes).min(range.end_bytes());
        let piece = (start < end).then(|| ByteRange::between(start, end));
        start = end;
        piece
    })
}

#[cfg(test)]
mod tests {
    use super::pieces;
    use image::ByteRange;

    #[test]
    fn pieces_cover_a_range_once() {
        let cut: Vec<_> = pieces(ByteRange::new(512, 3000), 1024).collect();
        let expected = [(512, 512), (1024, 1024), (2048, 1024), (3072, 440)];
        assert_eq!(cut, expected.map(|(offset, length)| ByteRange::new(offset, length)));
        assert_eq!(pieces(ByteRange::new(512, 0), 1024).count(), 0);
    }
}
