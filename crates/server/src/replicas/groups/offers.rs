//! What sources say of their groups, each time with the journal of one member.

use catalog::{KnownPeer, KnownReplicaGroup};
use model::JournalId;
use peer::replicas::GroupOffer;

use super::pin_name;
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// The most groups of one peer.
const OF_PEER_MAX: usize = 1024;

/// Keeps what is said with a journal of the group that its VM is in. The caller has the admission.
pub(crate) async fn note_offer(
    site: &Site,
    peer: &KnownPeer,
    journal: JournalId,
    offer: Option<&GroupOffer>,
) -> Result<()> {
    let all = site.catalog.replica_groups().await?;
    let of_peer = all.iter().filter(|group| group.peer_id == peer.id);
    let other = |group: &&KnownReplicaGroup| offer.is_none_or(|offer| offer.id != group.id);
    for group in of_peer.clone().filter(other).filter(|group| group.members.contains(&journal)) {
        take_out(site, group.clone(), journal).await?;
    }
    let Some(offer) = offer else { return Ok(()) };
    let known = all.iter().find(|group| group.id == offer.id);
    if known.is_some_and(|known| known.peer_id != peer.id) || !offer.members.contains(&journal) {
        return Err(Failure::conflict(format!(
            "the group {} is another site's, or the journal is none of its members",
            offer.id
        )));
    }
    // Of the same revision, a member may have been taken out because its replica went, and be back.
    if known.is_some_and(|known| {
        known.revision > offer.revision || known.revision == offer.revision && known.members == offer.members
    }) {
        return Ok(());
    }
    if known.is_none() && of_peer.count() >= OF_PEER_MAX {
        return Err(Failure::conflict(format!("this site knows {OF_PEER_MAX} groups of {}", peer.name)));
    }
    for gone in known.iter().flat_map(|known| &known.members).filter(|it| !offer.members.contains(it)) {
        unpin(site, known, *gone).await;
    }
    let group = KnownReplicaGroup {
        id: offer.id,
        peer_id: peer.id,
        name: offer.name.clone(),
        members: offer.members.clone(),
        revision: offer.revision,
    };
    site.catalog.put_replica_group(&group).await?;
    tracing::info!(group = %group.name, members = group.members.len(), from = %peer.name, "a consistency group of replicas is known");
    Ok(())
}

/// A replica goes: what is left of its groups are the others.
pub(crate) async fn forget(site: &Site, journal: JournalId) -> Result<()> {
    for group in site.catalog.replica_groups().await? {
        if group.members.contains(&journal) {
            take_out(site, group, journal).await?;
        }
    }
    Ok(())
}

async fn take_out(site: &Site, mut group: KnownReplicaGroup, journal: JournalId) -> Result<()> {
    group.members.retain(|member| *member != journal);
    match group.members.is_empty() {
        true => site.catalog.remove_replica_group(group.id).await?,
        false => site.catalog.put_replica_group(&group).await?,
    }
    unpin(site, Some(&group), journal).await;
    Ok(())
}

/// Lets a moment go that was kept for a group.
async fn unpin(site: &Site, group: Option<&KnownReplicaGroup>, journal: JournalId) {
    let Some((name, kept)) = group.map(pin_name).zip(site.replicas.get(journal).ok()) else { return };
    let unpinned = site.replicas.work(move || Ok(kept.replica()?.unpin(&name)?)).await;
    if let Err(failure) = unpinned {
        // It keeps more than it has to, until the server starts again.
        tracing::warn!(%journal, reason = failure.detail(), "a pin could not be removed");
    }
}
