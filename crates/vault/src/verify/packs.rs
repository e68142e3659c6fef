//! Checking packs, each by itself.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::{Damage, VerifyReport};
use crate::{
    ChunkId, Digest, Error, ErrorKind, Monitor, Result,
    frame::FrameKind,
    pack::{FrameEntry, OpenPack, PACK_BYTES_MAX},
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
}

/// Checks all packs in the store and those of `indexed` that are not. Returns the packs in which anything is wrong.
pub(super) async fn check(
    shared: &Arc<Shared>,
    indexed: HashSet<Digest>,
    report: &mut VerifyReport,
    monitor: &Monitor,
) -> Result<HashSet<Digest>> {
    let listed = shared.store.list(ObjectKind::Pack).await?;
    monitor.begin(listed.iter().map(|(_, size_bytes)| size_bytes).sum())?;
    let present: HashSet<Digest> = listed.iter().map(|(digest, _)| *digest).collect();
    let mut suspect: HashSet<Digest> = indexed.difference(&present).copied().collect();
    let mut missing: Vec<Digest> = suspect.iter().copied().collect();
    missing.sort_unstable();
    missing.into_iter().for_each(|pack| report.add(Damage::MissingPack { pack }));

    let at_once = shared.env.threads.parallelism().min(PACKS_AT_ONCE_MAX) + 1;
    let mut checks = stream::iter(listed)
        .map(|(digest, size_bytes)| async move {
            Ok::<_, Error>((digest, size_bytes, check_stored(shared, digest).await?))
        })
        .buffer_unordered(at_once);
    while let Some((digest, size_bytes, checked)) = checks.try_next().await? {
        report.packs += 1;
        report.chunks += checked.chunks;
        report.digest_only_packs += u64::from(checked.digest_only);
        report.checked_bytes += size_bytes;
        if !checked.damage.is_empty() {
            suspect.insert(digest);
        }
        checked.damage.into_iter().for_each(|damage| report.add(damage));
        monitor.advance(size_bytes)?;
    }
    Ok(suspect)
}

async fn check_stored(shared: &Arc<Shared>, digest: Digest) -> Result<CheckedPack> {
    let bytes = match shared.store.get_unchecked(ObjectKind::Pack, &digest, PACK_BYTES_MAX).await {
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
    Ok(threads.run(move || check_bytes(&shared, digest, &bytes)).await?)
}

fn check_bytes(shared: &Shared, digest: Digest, bytes: &Bytes) -> CheckedPack {
    let mut checked = CheckedPack::default();
    let mut reasons = Vec::new();
    if Digest::of(bytes) != digest {
        reasons.push("its bytes are not those that were written".to_owned());
    }
    let mut lost = Vec::new();
    match OpenPack::parse(bytes, &shared.keys) {
        Ok(pack) => {
            for (number, (frame, sealed)) in pack.frames.iter().enumerate() {
                checked.chunks += frame.chunks.len() as u64;
                lost.extend(lost_chunks(shared, &pack.seal, number as u64, frame, sealed));
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
    checked.damage.extend(lost.into_iter().map(|chunk| Damage::Chunk { pack: digest, chunk }));
    checked
}

/// The chunks of a frame that cannot be had.
fn lost_chunks(shared: &Shared, seal: &Seal, number: u64, frame: &FrameEntry, sealed: &[u8]) -> Vec<ChunkId> {
    let mut bytes = sealed.to_vec();
    let opened = seal.open(Role::Frame, number, &mut bytes).is_ok();
    let expanded = if opened { shared.decompressors.expand(&frame.head, bytes).ok() } else { None };
    let expanded = expanded.unwrap_or_default();
    let mut rest = &expanded[..];
    let is_lost = |(id, length_bytes): &(ChunkId, u32), kind: FrameKind| match rest
        .split_at_checked(*length_bytes as usize)
    {
        Some((chunk, later)) => {
            rest = later;
            shared.keys.chunk_id(kind, chunk) != *id
        }
        None => true,
    };
    let mut is_lost = is_lost;
    frame.chunks.iter().filter(|chunk| is_lost(chunk, frame.head.kind)).map(|(id, _)| *id).collect()
}
