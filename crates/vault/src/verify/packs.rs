//! Checking packs, each by itself.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use futures::{StreamExt, TryStreamExt, stream};

use super::{Damage, LISTED_MAX, VerifyReport, VerifyScope};
use crate::{
    ChunkId, Digest, Error, ErrorKind, Monitor, Result,
    frame::FrameKind,
    index::ListedPack,
    pack::{FrameEntry, OpenPack, PACK_BYTES_MAX},
    pool::BufferPool,
    seal::{Role, Seal},
    store::ObjectKind,
    vault::Shared,
};

/// The most packs that are checked at once, whatever the number of processors.
const PACKS_AT_ONCE_MAX: usize = 4;

#[derive(Default)]
struct CheckedPack {
    chunks: u64,
    digest_only: bool,
    damage: Vec<Damage>,
    /// Findings beyond those that are listed.
    unlisted: u64,
}

/// Checks the packs in the store that are in the scope, and that all packs of the index are there. Returns the packs in
/// which anything is wrong.
pub(super) async fn check(
    shared: &Arc<Shared>,
    scope: &VerifyScope,
    report: &mut VerifyReport,
    monitor: &Monitor,
) -> Result<HashSet<Digest>> {
    let packs = shared.index.packs();
    let indexed: BTreeSet<Digest> = packs.iter().map(|pack| pack.digest).collect();
    let is_tree = |pack: &&ListedPack| pack.kind == Some(FrameKind::Tree);
    let tree_packs = packs.iter().filter(is_tree).map(|pack| pack.digest).collect();
    let mut listed = shared.store.list(ObjectKind::Pack).await?;
    let present: HashSet<Digest> = listed.iter().map(|(digest, _)| *digest).collect();
    listed.retain(|(pack, _)| scope.holds(pack, &tree_packs, &*shared.env.entropy));
    monitor.begin(listed.iter().map(|(_, size_bytes)| size_bytes).sum())?;
    let mut suspect = HashSet::new();
    for pack in missing(shared, indexed.into_iter().filter(|pack| !present.contains(pack)).collect()).await? {
        suspect.insert(pack);
        report.add(Damage::MissingPack { pack });
    }

    let at_once = shared.env.threads.parallelism().min(PACKS_AT_ONCE_MAX) + 1;
    let buffers = &BufferPool::of_capacity(0);
    let mut checks = stream::iter(listed)
        .map(|(digest, size_bytes)| async move {
            Ok::<_, Error>((digest, size_bytes, check_stored(shared, digest, buffers).await?))
        })
        .buffer_unordered(at_once);
    let mut gone = Vec::new();
    while let Some((digest, size_bytes, checked)) = checks.try_next().await? {
        report.packs += 1;
        report.chunks += checked.chunks;
        report.digest_only_packs += u64::from(checked.digest_only);
        report.checked_bytes += size_bytes;
        if let [Damage::MissingPack { pack }] = checked.damage[..] {
            gone.push(pack);
            continue;
        }
        if checked.damage.is_empty() {
            report.sound_packs.insert(digest, shared.env.clock.now());
        } else {
            suspect.insert(digest);
        }
        checked.damage.into_iter().for_each(|damage| report.add(damage));
        report.damage_count += checked.unlisted;
        monitor.advance(size_bytes)?;
    }
    drop(checks);
    for pack in missing(shared, gone).await? {
        suspect.insert(pack);
        report.add(Damage::MissingPack { pack });
    }
    Ok(suspect)
}

/// Those of the packs that really are not there: a listing is a hint, and they may have been collected meanwhile.
async fn missing(shared: &Shared, mut unseen: Vec<Digest>) -> Result<Vec<Digest>> {
    if unseen.is_empty() {
        return Ok(unseen);
    }
    let mut lost = Vec::new();
    for pack in unseen.drain(..) {
        if shared.store.head(ObjectKind::Pack, &pack).await?.is_none() {
            lost.push(pack);
        }
    }
    shared.refresh_to_read().await?;
    let indexed: HashSet<Digest> = shared.index.packs().iter().map(|pack| pack.digest).collect();
    lost.retain(|pack| indexed.contains(pack));
    Ok(lost)
}

async fn check_stored(shared: &Arc<Shared>, digest: Digest, buffers: &BufferPool) -> Result<CheckedPack> {
    let mut bytes = match shared.store.get_pooled(ObjectKind::Pack, &digest, PACK_BYTES_MAX, buffers).await {
        Ok(bytes) => bytes,
        Err(error) => {
            let damage = match error.kind() {
                ErrorKind::NotFound => Damage::MissingPack { pack: digest },
                ErrorKind::Corrupt => Damage::Pack { pack: digest, reason: error.to_string() },
                _ => return Err(error),
            };
            return Ok(CheckedPack { damage: vec![damage], ..CheckedPack::default() });
        }
    };
    let (shared, threads) = (Arc::clone(shared), shared.env.threads);
    Ok(threads.run(move || check_bytes(&shared, digest, &mut bytes)).await?)
}

/// Checks a pack, and leaves its frames open.
fn check_bytes(shared: &Shared, digest: Digest, bytes: &mut [u8]) -> CheckedPack {
    let mut checked = CheckedPack::default();
    let mut reasons = Vec::new();
    if Digest::of(bytes) != digest {
        reasons.push("its bytes are not those that were written".to_owned());
    }
    let mut lost = Vec::new();
    match OpenPack::parse(bytes, &shared.keys) {
        Ok(pack) => {
            for (number, (frame, place)) in pack.frames.iter().enumerate() {
                checked.chunks += frame.chunks.len() as u64;
                lost.extend(lost_chunks(shared, &pack.seal, number as u64, frame, &mut bytes[place.clone()]));
            }
        }
        Err(error) if error.kind() == ErrorKind::WrongKey => checked.digest_only = true,
        Err(error) => reasons.push(error.to_string()),
    }
    if !reasons.is_empty() || !lost.is_empty() {
        if reasons.is_empty() {
            reasons.push("chunks in it are not what their ids say".to_owned());
        }
        checked.damage.push(Damage::Pack { pack: digest, reason: reasons.join("; ") });
    }
    checked.unlisted = lost.len().saturating_sub(LISTED_MAX) as u64;
    lost.truncate(LISTED_MAX);
    checked.damage.extend(lost.into_iter().map(|chunk| Damage::Chunk { pack: digest, chunk }));
    checked
}

/// The chunks of a frame that cannot be had. Opens the frame where it is.
fn lost_chunks(
    shared: &Shared,
    seal: &Seal,
    number: u64,
    frame: &FrameEntry,
    sealed: &mut [u8],
) -> Vec<ChunkId> {
    let lost_in = |mut rest: &[u8]| {
        let mut is_lost = |id: &ChunkId, length_bytes: u32| match rest.split_at_checked(length_bytes as usize)
        {
            Some((chunk, later)) => {
                rest = later;
                shared.keys.chunk_id(frame.head.kind, chunk) != *id
            }
            None => true,
        };
        let lost = frame.chunks.iter().filter(|(id, length_bytes)| is_lost(id, *length_bytes));
        lost.map(|(id, _)| *id).collect()
    };
    let opened = seal.open_within(Role::Frame, number, sealed).ok();
    let lost = opened.and_then(|opened| shared.decompressors.expand_for(&frame.head, opened, lost_in).ok());
    lost.unwrap_or_else(|| frame.chunks.iter().map(|(id, _)| *id).collect())
}
