//! What the bases of a replica begin with, where the site has something that is like the VM's disks.
//!
//! It is chosen when the journal is offered, and made when its source asks for it: then the journal knows the disks, and the
//! source waits. Until it is decided what becomes of it, nothing is folded, and nothing can be compared. A seed that cannot be
//! read is none; what the replica's own folder refuses is tried again when the source asks again.
//!
//! A peer could learn by comparing what is in an image. So it gets nothing but what it has sent, what was handed over to it, and
//! points and snapshots of this very VM, where no VM of this site's own has that id.

use std::{
    fs::File,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use catalog::{KnownPeer, KnownReplica, KnownVm, ReplicaSeed, SeedOutcome, SeedSource};
use hypervisor_qemu::Taken;
use image::{ByteRange, DiskImage, ExtentKind};
use journal::{DiskNumber, Replica, Seeding};
use model::{DiskName, ImageReference, JournalId, MomentSelector, ReplicaReference, SiteId, VmId};
use peer::replicas::{Prepare, Prepared, ReplicaOffer};
use recovery::{Event, Stage, step};

use super::{Kept, receive::of_peer};
use crate::{
    dependents,
    failure::{Failure, Result},
    images::Source,
    points::{self, Named},
    site::Site,
    turns::Turn,
    vms,
};

/// How much of a seed is looked at for what it holds at once.
const STRETCH_BYTES: u64 = 256 << 20;

/// What is read at once.
const PIECE_BYTES: u64 = 1 << 20;

/// The VM that was handed over to a site, or that it has taken over, as it was here; none where another VM has the id, or none.
pub(crate) async fn old_self(
    site: &Site,
    peer: SiteId,
    vm_id: VmId,
    generation: u64,
) -> Result<Option<KnownVm>> {
    let Some(vm) = site.catalog.vm(vm_id.as_str()).await?.filter(|vm| vm.id == vm_id) else {
        return Ok(None);
    };
    let replication = site.catalog.replication(vm_id).await?.filter(|known| known.peer_id == peer);
    // That it was taken over may not have been heard yet.
    let is_over = replication.is_some_and(|known| known.fenced.is_some() || known.generation < generation);
    Ok(is_over.then_some(vm))
}

/// Chooses what the bases of a journal that is offered are to begin with.
pub(super) async fn choose(
    site: &Site,
    peer: &KnownPeer,
    offer: &ReplicaOffer,
) -> Result<Option<SeedSource>> {
    if !offer.compares {
        return Ok(None);
    }
    if let Some(reference) = &offer.seed {
        return named(site, peer, offer, reference).await.map(Some);
    }
    if old_self(site, peer.id, offer.vm_id, offer.generation.0).await?.is_some() {
        return Ok(Some(SeedSource::OldSelf));
    }
    let earlier = site.catalog.replicas().await?.into_iter().filter(|known| {
        let kept = site.replicas.get(known.journal_id).ok();
        let has_moment =
            |kept: Arc<Kept>| kept.replica().is_ok_and(|it| it.newest_whole(known.vm_id).is_some());
        known.peer_id == peer.id
            && known.vm_id == offer.vm_id
            && known.standing.stage == Stage::Protected
            && kept.is_some_and(has_moment)
    });
    let newest = earlier.max_by_key(|known| known.offered_at);
    Ok(newest.map(|known| {
        let (vm, moment) = (known.journal_id.to_string(), MomentSelector::Latest);
        SeedSource::Reference(ReplicaReference { vm, moment, disk: None }.to_string())
    }))
}

/// What somebody has named at the source.
async fn named(site: &Site, peer: &KnownPeer, offer: &ReplicaOffer, reference: &str) -> Result<SeedSource> {
    let parsed: ImageReference =
        reference.parse().map_err(|error| Failure::invalid(format!("the seed: {error}")))?;
    let refused = |why: &str| {
        let detail = format!("{reference} cannot be the seed of the VM {}: {why}", offer.vm_name);
        Failure::new(api::Code::Denied, detail)
            .with_hint("name a point or a snapshot of the VM, or a replica of it; or leave the seed out")
    };
    let source = match parsed {
        ImageReference::File(_) => return Err(refused("a peer gets no file of this host")),
        ImageReference::Replica(_) => {
            let source = Source::resolve(site, reference, None).await?;
            match &source {
                Source::Replica { found, .. } if found.replica.peer_id == peer.id => source,
                _ => return Err(refused("it is another site's")),
            }
        }
        ImageReference::Point(_) | ImageReference::Snapshot(_) => {
            let Named { point, .. } = points::resolve_named(site, reference, None).await?;
            if point.record.summary.vm_id != offer.vm_id {
                return Err(refused("it is of another VM"));
            }
            let is_own = site.catalog.vm(offer.vm_id.as_str()).await?.is_some();
            if is_own && old_self(site, peer.id, offer.vm_id, offer.generation.0).await?.is_none() {
                return Err(refused("the VM is this site's own"));
            }
            Source::resolve(site, reference, None).await?
        }
    };
    Ok(SeedSource::Reference(source.pinned()))
}

/// Whether it is not decided yet what the bases of a replica begin with.
pub(super) async fn is_pending(site: &Site, journal: JournalId) -> Result<bool> {
    Ok(site.catalog.replica_seed(journal).await?.is_some_and(|seed| seed.outcome.is_none()))
}

/// Has the bases begin with what was chosen, and tells how far that is.
pub(crate) async fn prepare(
    site: &Site,
    peer: &KnownPeer,
    journal: JournalId,
    request: Prepare,
) -> Result<Prepared> {
    let known = of_peer(site, peer, journal).await?;
    step(&known.standing, Event::PartsCame)?;
    let kept = site.replicas.get(journal)?;
    let replica = kept.replica()?;
    if replica.durable_through() < request.through {
        return Ok(Prepared::default());
    }
    let (source, outcome) = match site.catalog.replica_seed(journal).await? {
        None => (None, SeedOutcome::default()),
        Some(ReplicaSeed { source, outcome: Some(outcome) }) => (Some(source), outcome),
        Some(ReplicaSeed { source, outcome: None }) => {
            let from = Some(in_words(&source));
            if let Some(turn) = site.replicas.turns.take(&journal) {
                tokio::spawn(begin(site.clone(), turn, Arc::clone(&kept), known, source));
            }
            let done_bytes = kept.seeded_bytes.load(Ordering::Relaxed);
            let total_bytes = kept.to_seed_bytes.load(Ordering::Relaxed);
            return Ok(Prepared { from, done_bytes, total_bytes, ..Prepared::default() });
        }
    };
    let disks = replica.disks_at(replica.durable_through());
    let fresh = disks.of_vm(known.vm_id).map(|(number, _)| number);
    Ok(Prepared {
        is_ready: true,
        from: source.filter(|_| !outcome.disks.is_empty()).as_ref().map(in_words),
        problem: outcome.problem,
        fresh: fresh.filter(|number| replica.takes_seed(*number)).map(|number| number.0).collect(),
        ..Prepared::default()
    })
}

fn in_words(source: &SeedSource) -> String {
    match source {
        SeedSource::OldSelf => "the disks that the VM had there".to_owned(),
        SeedSource::Reference(reference) => reference.clone(),
    }
}

/// Makes the bases, and keeps what became of them.
async fn begin(site: Site, _turn: Turn<JournalId>, kept: Arc<Kept>, known: KnownReplica, source: SeedSource) {
    let stopping = site.stopping.clone();
    let seeding = async {
        // Whoever had the turn before may have decided it.
        if !is_pending(&site, known.journal_id).await? {
            return Ok(());
        }
        let outcome = seed(&site, &kept, &known, &source).await?;
        tracing::info!(vm = %known.vm_name, disks = outcome.disks.len(), problem = outcome.problem, "a replica was seeded");
        Ok::<_, Failure>(site.catalog.settle_replica_seed(known.journal_id, &outcome).await?)
    };
    if let Some(Err(failure)) = stopping.run_until_cancelled(Box::pin(seeding)).await {
        tracing::warn!(vm = %known.vm_name, reason = failure.detail(), "a replica could not be seeded yet");
    }
}

/// An image that a base may begin with.
struct Seed {
    disk: DiskName,
    image: Arc<dyn DiskImage>,
    raw_file: Option<PathBuf>,
}

/// Images, and what keeps others from writing to them meanwhile.
struct Seeds {
    images: Vec<Seed>,
    _taken: Option<Taken>,
}

async fn open(site: &Site, known: &KnownReplica, source: &SeedSource) -> Result<Seeds> {
    if let SeedSource::Reference(reference) = source {
        let opened = Source::resolve(site, reference, None).await?.open(site).await?;
        let images =
            opened.into_iter().map(|open| Seed { disk: open.disk, image: open.image, raw_file: None });
        return Ok(Seeds { images: images.collect(), _taken: None });
    }
    let vm = old_self(site, known.peer_id, known.vm_id, known.standing.generation).await?;
    let vm = vm.ok_or_else(|| Failure::not_found("what the VM was here is gone"))?;
    let taken = dependents::take(site, &vms::disk_paths(&vm)).await?;
    let disks = site.hypervisor.disks_at_rest(&vms::access(&vm)).await?;
    let is_whole = |name: &DiskName| vm.dependent_disks.iter().all(|dependent| dependent.disk != *name);
    let whole = disks.into_iter().filter(|disk| is_whole(&disk.name));
    let images = whole.map(|disk| Seed { disk: disk.name, image: disk.image, raw_file: disk.raw_file });
    Ok(Seeds { images: images.collect(), _taken: Some(taken) })
}

/// Why a base could not be made.
enum Unseeded {
    /// What it was to begin with cannot be read.
    Unreadable(Failure),
    /// The replica does not take it now.
    Refused(Failure),
}

async fn seed(site: &Site, kept: &Kept, known: &KnownReplica, source: &SeedSource) -> Result<SeedOutcome> {
    let mut outcome = SeedOutcome::default();
    let seeds = match open(site, known, source).await {
        Ok(seeds) => seeds,
        Err(failure) => {
            outcome.problem = Some(failure.detail().to_owned());
            return Ok(outcome);
        }
    };
    let replica = kept.replica()?;
    let disks = replica.disks_at(replica.durable_through());
    let of_vm: Vec<_> = disks.of_vm(known.vm_id).map(|(number, disk)| (number, disk.name.clone())).collect();
    let pairs: Vec<_> = of_vm
        .iter()
        .filter_map(|(number, name)| Some((*number, name, like(&seeds.images, &of_vm, name)?)))
        .collect();
    let total_bytes = pairs.iter().map(|(_, _, seed)| seed.image.size_bytes()).sum();
    kept.seeded_bytes.store(0, Ordering::Relaxed);
    kept.to_seed_bytes.store(total_bytes, Ordering::Relaxed);
    for (number, name, seed) in pairs {
        if !replica.is_seeded(number) {
            match make(site, kept, replica, number, seed).await {
                Ok(()) => {}
                Err(Unseeded::Refused(failure)) => return Err(failure),
                Err(Unseeded::Unreadable(failure)) => {
                    outcome.problem = Some(format!("the disk {name}: {}", failure.detail()));
                    continue;
                }
            }
        }
        outcome.disks.push(name.clone());
    }
    Ok(outcome)
}

/// The image that is like a disk: by its name, or the only one for the only one.
fn like<'a>(images: &'a [Seed], disks: &[(DiskNumber, DiskName)], name: &DiskName) -> Option<&'a Seed> {
    match (images, disks) {
        ([only], [_]) => Some(only),
        _ => images.iter().find(|seed| seed.disk == *name),
    }
}

/// Makes the base of a disk.
async fn make(
    site: &Site,
    kept: &Kept,
    replica: &Replica,
    number: DiskNumber,
    seed: &Seed,
) -> std::result::Result<(), Unseeded> {
    let unreadable = |error: image::Error| Unseeded::Unreadable(error.into());
    let refused = Unseeded::Refused;
    if !replica.takes_seed(number) {
        let late = Failure::conflict("the replica has more of it than what came with this journal");
        return Err(Unseeded::Unreadable(late));
    }
    let (replica, raw_file) = (replica.clone(), seed.raw_file.clone());
    let begun = site.replicas.work(move || {
        let seeding = replica.begin_seed(number)?;
        // What cannot be cloned is copied.
        let is_cloned = raw_file.and_then(|path| File::open(path).ok()).map(|file| seeding.clone_of(&file));
        Ok((seeding, is_cloned.transpose()?.unwrap_or(false)))
    });
    let (mut seeding, is_cloned) = begun.await.map_err(refused)?;
    let all = ByteRange::new(0, seed.image.size_bytes().min(seeding.size_bytes()));
    if is_cloned {
        kept.seeded_bytes.fetch_add(all.length_bytes, Ordering::Relaxed);
    } else {
        for start in (0..all.length_bytes).step_by(STRETCH_BYTES as usize) {
            let stretch = ByteRange::between(start, all.length_bytes.min(start + STRETCH_BYTES));
            let extents = seed.image.extents(stretch).await.map_err(unreadable)?;
            for extent in extents.iter().filter(|extent| extent.kind == ExtentKind::Data) {
                seeding = copy(site, seeding, &*seed.image, extent.range).await?;
            }
            kept.seeded_bytes.fetch_add(stretch.length_bytes, Ordering::Relaxed);
        }
    }
    site.replicas.work(move || Ok(seeding.finish()?)).await.map_err(refused)
}

/// Copies a range into a base, but for its zeros.
async fn copy(
    site: &Site,
    mut seeding: Seeding,
    image: &dyn DiskImage,
    range: ByteRange,
) -> std::result::Result<Seeding, Unseeded> {
    for start in (range.offset_bytes..range.end_bytes()).step_by(PIECE_BYTES as usize) {
        let length = (range.end_bytes() - start).min(PIECE_BYTES) as usize;
        let mut piece = vec![0; length];
        let read = image.read_at(start, &mut piece).await;
        read.map_err(|error| Unseeded::Unreadable(error.into()))?;
        if piece.iter().all(|byte| *byte == 0) {
            continue;
        }
        let written = site.replicas.work(move || {
            seeding.write_at(start, &piece)?;
            Ok(seeding)
        });
        seeding = written.await.map_err(Unseeded::Refused)?;
    }
    Ok(seeding)
}
