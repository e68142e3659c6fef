//! Of a disk of which the journal lacks everything, only what is not at the other site is copied.
//!
//! The other site may show something of the disk: the journal as far as it came before it lacked anything, or a base that began
//! with a seed. It tells digests of that, piece by piece; the same pieces of the live disk are read, and those that are equal
//! count as had.
//!
//! # Why that is sound
//!
//! A piece counts as had when it was *read* in an epoch, and is what the other site shows *after a record of that same epoch*, or
//! of a later one of it. Whatever the guest writes in the epoch, before, while or after the piece is read, is a record of its
//! own. So of each sector of the piece either there is such a record, which counts anyway, or there is none, and then what
//! the other site shows of it is what was read. A write that reached the disk before it was read and comes to the journal later
//! is under way until then: a crash might have left it on the disk. What was shown before the epoch would not do: writes
//! may have been missed since. That the epoch still lasts is proven when the disk is declared whole, as it is for what is copied.
//! `journal`'s tests try this at random interleavings (`replica/seed/tests.rs`).

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use image::{ByteRange, ExtentKind};
use peer::{
    Digest, ErrorKind,
    replicas::{Compare, PIECE_MAX_BYTES, Prepare, piece_digest},
};

use super::{
    attach::{Attached, AttachedDisk},
    copying::{READS_AT_ONCE, copy, pieces},
    figures::{CopyProgress, Seeding},
    ship,
    tasks::Shared,
};
use crate::failure::{Failure, Result};

/// How much is asked about at once.
const STRETCH_BYTES: u64 = 64 << 20;

/// Pieces that differ are looked at again in smaller ones, of which those that differ are copied.
const FINE_BYTES: u64 = 64 << 10;

/// How soon is asked again, at first and at last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the other site says that it has of the disks.
pub(super) struct There {
    /// Disks of which it has nothing but what this journal says; none where it does not say.
    fresh: Option<BTreeSet<u32>>,
}

impl There {
    /// It does not matter, or the other site cannot tell.
    pub(super) fn unknown() -> Self {
        Self { fresh: None }
    }

    /// Whether the disk can be compared with something.
    pub(super) fn has_something_of(&self, disk: &AttachedDisk) -> bool {
        self.fresh.is_some() && !self.is_empty(disk)
    }

    /// Whether the disk is all zeros there but for what is in the journal since it was attached.
    pub(super) fn is_empty(&self, disk: &AttachedDisk) -> bool {
        disk.is_new && self.fresh.as_ref().is_some_and(|fresh| fresh.contains(&disk.number.0))
    }
}

/// Waits until the other site has the beginning of the epoch, and its bases begin with what it has chosen for them.
pub(super) async fn there(shared: &Shared, attached: &Attached) -> Result<There> {
    let mut reached = shared.there.subscribe();
    // The sender is this task's own.
    reached.wait_for(|through| *through >= attached.begun).await.ok();
    let request = Prepare { through: attached.begun };
    let mut pause = FIRST_PAUSE;
    let prepared = loop {
        let client = ship::client(shared).await?;
        match client.prepare_replica(shared.known.journal_id, request).await {
            Ok(prepared) if prepared.is_ready => break prepared,
            Ok(prepared) => {
                shared.figures().seeding = prepared.from.map(|from| Seeding {
                    from,
                    done_bytes: prepared.done_bytes,
                    total_bytes: prepared.total_bytes,
                });
            }
            // A site that is older than this one.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(There::unknown()),
            Err(error) if is_passing(error.kind()) => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE.min(shared.site.look_interval * 20));
    };
    tracing::info!(vm = %shared.vm_id(), from = prepared.from, problem = prepared.problem, "the other site is ready to compare");
    let mut figures = shared.figures();
    figures.seeding = None;
    (figures.seed, figures.seed_problem) = (prepared.from, prepared.problem);
    Ok(There { fresh: Some(prepared.fresh.into_iter().collect()) })
}

fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unreachable | ErrorKind::Busy)
}

/// Reads a disk once, and copies what differs, which is read again for that.
pub(super) async fn copy_what_differs(
    shared: &Shared,
    attached: &Attached,
    disk: &AttachedDisk,
    progress: &CopyProgress,
) -> Result<()> {
    for stretch in pieces(ByteRange::new(0, disk.size_bytes), STRETCH_BYTES) {
        let there = digests(shared, attached, disk, stretch, PIECE_MAX_BYTES).await?;
        // Only now: what is zero here is so in the epoch.
        let extents = disk.live.extents(stretch).await?;
        let is_zero = |piece: ByteRange| {
            let mut touching = extents.iter().filter(|extent| !extent.range.intersection(piece).is_empty());
            touching.all(|extent| extent.kind == ExtentKind::Zero)
        };
        let looked: Vec<_> = pieces(stretch, PIECE_MAX_BYTES)
            .zip(there)
            .map(|(piece, there)| (piece, there, is_zero(piece)))
            .collect();
        stream::iter(looked)
            .map(|(piece, there, is_zero)| async move {
                let had_bytes = copy_piece(shared, attached, disk, (piece, there, is_zero)).await?;
                progress.had_bytes.fetch_add(had_bytes, Ordering::Relaxed);
                progress.done_bytes.fetch_add(piece.length_bytes, Ordering::Relaxed);
                Ok::<_, Failure>(())
            })
            .buffer_unordered(READS_AT_ONCE)
            .try_collect::<()>()
            .await?;
    }
    Ok(())
}

/// Copies what of a piece differs. Returns how much does not.
async fn copy_piece(
    shared: &Shared,
    attached: &Attached,
    disk: &AttachedDisk,
    (piece, there, is_zero): (ByteRange, Option<Digest>, bool),
) -> Result<u64> {
    if is_zero {
        if there.is_none() {
            return Ok(piece.length_bytes);
        }
        copy(attached, disk, piece).await?;
        return Ok(0);
    }
    let mut content = vec![0; piece.length_bytes as usize];
    disk.live.read_at(piece.offset_bytes, &mut content).await?;
    if piece_digest(&content) == there {
        return Ok(piece.length_bytes);
    }
    let differing = match there {
        // All zeros there: whatever is none here differs.
        None => differing(piece, &content, None),
        Some(_) => {
            let there = digests(shared, attached, disk, piece, FINE_BYTES).await?;
            differing(piece, &content, Some(&there))
        }
    };
    let copied_bytes: u64 = differing.iter().map(|range| range.length_bytes).sum();
    for range in differing {
        copy(attached, disk, range).await?;
    }
    Ok(piece.length_bytes - copied_bytes)
}

/// The ranges of a piece that are not as these digests say; none for zeros everywhere.
fn differing(piece: ByteRange, content: &[u8], there: Option<&[Option<Digest>]>) -> Vec<ByteRange> {
    let fine = pieces(piece, FINE_BYTES).zip(content.chunks(FINE_BYTES as usize)).enumerate();
    let differing = fine.filter_map(|(place, (range, bytes))| {
        let there = there.and_then(|there| there.get(place).copied().flatten());
        (piece_digest(bytes) != there).then_some(range)
    });
    image::coalesce(differing.collect())
}

/// What the other site has of a range, once it can be asked.
async fn digests(
    shared: &Shared,
    attached: &Attached,
    disk: &AttachedDisk,
    range: ByteRange,
    piece_bytes: u64,
) -> Result<Vec<Option<Digest>>> {
    let ByteRange { offset_bytes, length_bytes } = range;
    let request =
        Compare { disk: disk.number, through: attached.begun, offset_bytes, length_bytes, piece_bytes };
    let mut pause = FIRST_PAUSE;
    loop {
        let client = ship::client(shared).await?;
        match client.compare_replica(shared.known.journal_id, request).await {
            Ok(digests) => return Ok(digests),
            Err(error) if is_passing(error.kind()) => {
                tracing::debug!(vm = %shared.vm_id(), %error, "the other site is asked again what it has");
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use image::ByteRange;
    use peer::replicas::piece_digest;

    use super::{FINE_BYTES, differing};

    #[test]
    fn what_differs_is_found_in_small_pieces_and_joined() {
        let fine = FINE_BYTES as usize;
        let mut content = vec![1; 5 * fine + 512];
        let there: Vec<_> = content.chunks(fine).map(piece_digest).collect();
        let piece = ByteRange::new(8 * FINE_BYTES, content.len() as u64);
        assert_eq!(differing(piece, &content, Some(&there)), []);
        content[fine] = 2;
        content[3 * fine - 1] = 2;
        content[5 * fine + 511] = 2;
        let expected = [ByteRange::new(9 * FINE_BYTES, 2 * FINE_BYTES), ByteRange::new(13 * FINE_BYTES, 512)];
        assert_eq!(differing(piece, &content, Some(&there)), expected);
        content[..2 * fine].fill(0);
        assert_eq!(differing(piece, &content, None), [ByteRange::new(10 * FINE_BYTES, 3 * FINE_BYTES + 512)]);
    }
}
