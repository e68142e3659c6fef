//! What peers say of their journals. Everything is checked: what they send may be anything.

use std::sync::Arc;

use catalog::{KnownPeer, KnownReplica};
use journal::{Generation, Part, Received, Replica, SegmentNumber, Sequence};
use model::JournalId;
use peer::replicas::{ReplicaOffer, ReplicaProgress};
use recovery::{Event, Refusal, Standing, step};

use super::{Kept, groups, put_in, remove, seeds};
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// How long moments stay reachable where neither side says anything.
const RETENTION_DEFAULT_SECONDS: u64 = 24 * 3600;

/// The most replicas of one peer.
const OF_PEER_MAX: usize = 1024;

/// Takes an offer: a journal that is new, or what has changed of one.
pub(crate) async fn offer(
    site: &Site,
    peer: &KnownPeer,
    journal: JournalId,
    offer: ReplicaOffer,
) -> Result<ReplicaProgress> {
    offer.check()?;
    check_fence(site, &offer).await?;
    // Offers come one at a time, so that there is never a second replica of a journal.
    let _admission = site.admission.lock().await;
    let Some(mut known) = site.catalog.replica(journal).await? else {
        return begin(site, peer, journal, offer).await;
    };
    if known.peer_id != peer.id || known.vm_id != offer.vm_id {
        return Err(Failure::conflict(format!("the journal {journal} is another site's, or another VM's")));
    }
    let kept = site.replicas.get(journal)?;
    let _gate = kept.gate.lock().await;
    // It may have been failed over while this waited.
    known = site.catalog.replica(journal).await?.unwrap_or(known);
    known.standing = step(&known.standing, Event::Offered { generation: offer.generation.0 })?.standing;
    if !known.retention_is_set {
        known.retention_seconds = offer.retention_seconds.unwrap_or(RETENTION_DEFAULT_SECONDS);
    }
    (known.vm_name, known.definition) = (offer.vm_name, offer.definition);
    (known.offered_at, known.source_settings) = (site.env.clock.now(), offer.settings);
    site.catalog.put_replica(&known).await?;
    groups::note_offer(site, peer, journal, offer.group.as_ref()).await?;
    tell(site, &kept, known).await
}

/// Refuses the source of a VM that was failed over to this site, whatever journal it offers.
async fn check_fence(site: &Site, offer: &ReplicaOffer) -> Result<()> {
    match site.catalog.fence(offer.vm_id).await? {
        Some(fence) if offer.generation.0 <= fence.generation => {
            let failover = recovery::Failover {
                vm_id: offer.vm_id,
                begun_at: fence.begun_at,
                generation: fence.generation,
            };
            Err(Refusal::Fenced(failover).into())
        }
        _ => Ok(()),
    }
}

async fn begin(
    site: &Site,
    peer: &KnownPeer,
    journal: JournalId,
    offer: ReplicaOffer,
) -> Result<ReplicaProgress> {
    let others = site.catalog.replicas().await?;
    // A failover that has begun fences every journal of its VM, also before its fence is in the catalog.
    let of_vm = others.iter().filter(|other| other.vm_id == offer.vm_id);
    let failovers = of_vm.filter_map(|other| other.standing.failover());
    if let Some(failover) = failovers.max_by_key(|failover| failover.generation)
        && offer.generation.0 <= failover.generation
    {
        return Err(Refusal::Fenced(failover.clone()).into());
    }
    if offer.start > SegmentNumber(1) {
        let detail =
            format!("the journal {journal} no longer has its beginning, and this site does not either");
        return Err(Failure::conflict(detail).with_hint("stop the replication, and start it anew"));
    }
    if others.iter().filter(|other| other.peer_id == peer.id).count() >= OF_PEER_MAX {
        return Err(Failure::conflict(format!(
            "this site keeps {OF_PEER_MAX} replicas of {} already",
            peer.name
        ))
        .with_hint("delete some there: holdfast replica delete"));
    }
    let seed = seeds::choose(site, peer, &offer).await?;
    let now = site.env.clock.now();
    let known = KnownReplica {
        journal_id: journal,
        peer_id: peer.id,
        vm_id: offer.vm_id,
        vm_name: offer.vm_name,
        definition: offer.definition,
        retention_seconds: offer.retention_seconds.unwrap_or(RETENTION_DEFAULT_SECONDS),
        retention_is_set: false,
        first_segment: offer.start.0,
        standing: Standing::new(offer.generation.0),
        failed_over_to: None,
        offered_at: now,
        source_settings: offer.settings,
    };
    let kept = site.replicas.begin(&known).await?;
    site.catalog.put_replica(&known).await?;
    if let Some(seed) = seed {
        site.catalog.add_replica_seed(journal, &seed).await?;
    }
    site.replicas.admit(journal, Arc::clone(&kept));
    groups::note_offer(site, peer, journal, offer.group.as_ref()).await?;
    tracing::info!(vm = %known.vm_name, from = %peer.name, %journal, "a replica begins");
    // The source has begun anew: nothing more comes of the journal before.
    for other in others {
        if other.peer_id == peer.id && other.vm_id == known.vm_id {
            put_in(site, other.journal_id, Event::SourceEnded { at: now }).await?;
        }
    }
    tell(site, &kept, known).await
}

/// Takes parts. What is acknowledged is durable.
pub(crate) async fn take(
    site: &Site,
    peer: &KnownPeer,
    journal: JournalId,
    parts: Vec<Part>,
) -> Result<ReplicaProgress> {
    let kept = site.replicas.get(journal);
    let known = of_peer(site, peer, journal).await?;
    let kept = kept?;
    let _gate = kept.gate.lock().await;
    // It may have been failed over while this waited.
    let known = site.catalog.replica(journal).await?.unwrap_or(known);
    step(&known.standing, Event::PartsCame)?;
    check_newest(site, &known).await?;
    let taking = Arc::clone(&kept);
    site.replicas.work(move || receive(taking.replica()?, &parts)).await?;
    tell(site, &kept, known).await
}

fn receive(replica: &Replica, parts: &[Part]) -> Result<()> {
    let received = parts.iter().try_for_each(|part| match replica.receive(part) {
        Ok(Received::Gap { .. }) => Err(None),
        Ok(Received::Appended | Received::Duplicate) => Ok(()),
        Err(error) => Err(Some(error)),
    });
    // Of what came before a part that cannot be taken, the source need not send anything again.
    let synced = replica.sync();
    match received {
        Err(Some(error)) => Err(error.into()),
        _ => Ok(synced.map(drop)?),
    }
}

/// How far a replica is.
pub(crate) async fn progress(site: &Site, peer: &KnownPeer, journal: JournalId) -> Result<ReplicaProgress> {
    let known = of_peer(site, peer, journal).await?;
    if let Err(refusal) = step(&known.standing, Event::PartsCame)
        && refusal.is_fence()
    {
        return Err(refusal.into());
    }
    check_newest(site, &known).await?;
    let kept = site.replicas.get(journal)?;
    tell(site, &kept, known).await
}

/// Refuses the source of a VM that was failed over to this site by another journal.
async fn check_newest(site: &Site, known: &KnownReplica) -> Result<()> {
    let fence = site.catalog.fence(known.vm_id).await?.map(|fence| fence.generation);
    Ok(known.standing.check_newest(fence)?)
}

/// The source ends the replication.
pub(crate) async fn end(site: &Site, peer: &KnownPeer, journal: JournalId, delete: bool) -> Result<()> {
    of_peer(site, peer, journal).await?;
    let (known, _) = put_in(site, journal, Event::SourceEnded { at: site.env.clock.now() }).await?;
    tracing::info!(vm = %known.vm_name, from = %peer.name, "a replication was ended by its source");
    // Of a VM that runs here by now, the source has nothing to delete.
    if delete && known.standing.failover().is_none() {
        remove(site, &known, false).await?;
    }
    Ok(())
}

/// The replica of a journal, if it is this peer's.
pub(crate) async fn of_peer(site: &Site, peer: &KnownPeer, journal: JournalId) -> Result<KnownReplica> {
    let known = site.catalog.replica(journal).await?.filter(|known| known.peer_id == peer.id);
    known.ok_or_else(|| {
        Failure::not_found(format!("this site keeps no journal {journal} of the caller"))
            .with_hint("offer it anew")
    })
}

async fn tell(site: &Site, kept: &Arc<Kept>, known: KnownReplica) -> Result<ReplicaProgress> {
    let kept = Arc::clone(kept);
    site.replicas
        .work(move || {
            let replica = kept.replica()?;
            let wanted = replica.wanted()?;
            let status = replica.status();
            Ok(ReplicaProgress {
                wanted,
                durable_through: status.as_ref().map_or(Sequence(0), |status| status.durable_through),
                generation: Generation(known.standing.generation),
                newest_time: status.and_then(|status| status.newest_time),
                reaches_back_to: kept.reaches_back_to(known.vm_id),
                size_bytes: kept.size_bytes(),
                retention_seconds: known.retention_seconds,
            })
        })
        .await
}
