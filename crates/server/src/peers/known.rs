//! Which peers there are.

use std::time::Duration;

use api::RemovedPeerView;
use catalog::KnownPeer;
use model::{SiteId, SiteName};
use peer::Patience;

use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// How long it may take to tell a peer that it is one no more.
const TELL_LIMIT: Duration = Duration::from_secs(5);

/// The peer with this name or, failing that, this id.
pub(crate) async fn find(site: &Site, name_or_id: &str) -> Result<KnownPeer> {
    let peers = site.catalog.peers().await?;
    let named = peers.iter().find(|peer| peer.name.as_str() == name_or_id);
    named.or_else(|| peers.iter().find(|peer| peer.id.as_str() == name_or_id)).cloned().ok_or_else(|| {
        Failure::not_found(format!("this site is not paired with a site {name_or_id}"))
            .with_hint("see its peers with: holdfast site list")
    })
}

/// The peer with this id.
pub(super) async fn by_id(site: &Site, id: SiteId) -> Result<Option<KnownPeer>> {
    Ok(site.catalog.peers().await?.into_iter().find(|peer| peer.id == id))
}

/// A name for a peer: the wanted one, or where another peer has that, one that is like it.
pub(super) async fn free_name(site: &Site, wanted: &SiteName, id: SiteId) -> Result<SiteName> {
    let peers = site.catalog.peers().await?;
    if !peers.iter().any(|peer| peer.name == *wanted && peer.id != id) {
        return Ok(wanted.clone());
    }
    let base: String = wanted.as_str().chars().take(20).collect();
    format!("{base}-{id}").parse().map_err(|error| Failure::invalid(format!("the site's name: {error}")))
}

/// Forgets a peer, whose certificate counts for nothing from then on, and tells it where it can be reached. Nothing waits for
/// it: one that cannot be reached learns it when it calls.
pub(crate) async fn remove(site: &Site, known: &KnownPeer) -> Result<RemovedPeerView> {
    check_unneeded(site, known).await?;
    site.catalog.remove_peer(known.id).await?;
    site.peers.reach().remove(&known.id);
    if let Err(error) = site.peers.receiver().forget(known.id).await {
        tracing::warn!(peer = %known.name, %error, "what was on its way from a site stays for its 30 days");
    }
    tracing::info!(peer = %known.name, id = %known.id, "the pairing with a site has ended");
    let told = match tell(site, known).await {
        Ok(told) => told,
        Err(failure) => {
            tracing::warn!(peer = %known.name, reason = failure.detail(), "the site could not be told");
            return Ok(RemovedPeerView {
                name: known.name.to_string(),
                is_told: false,
                problem: Some(failure.detail().to_owned()),
            });
        }
    };
    Ok(RemovedPeerView { name: known.name.to_string(), is_told: told, problem: None })
}

/// Fails where VMs are replicated to a peer.
async fn check_unneeded(site: &Site, known: &KnownPeer) -> Result<()> {
    let replications = site.catalog.replications().await?;
    let Some(first) = replications.iter().find(|replication| replication.peer_id == known.id) else {
        return Ok(());
    };
    let vm =
        site.catalog.vm(first.vm_id.as_str()).await?.map_or(first.vm_id.to_string(), |vm| vm.name.into());
    let stop = format!("end that first: holdfast replication stop {}", api::shell_word(&vm));
    Err(Failure::conflict(format!("the VM {vm} is replicated to the site {}", known.name)).with_hint(stop))
}

async fn tell(site: &Site, known: &KnownPeer) -> Result<bool> {
    if known.ended_at.is_some() {
        return Ok(true); // it was the one that said so
    }
    let Some(client) = site.peers.client(known, Patience::NONE)? else { return Ok(false) };
    let told = tokio::time::timeout(TELL_LIMIT, client.end_pairing()).await;
    told.map_err(|_| Failure::new(api::Code::Unreachable, "it did not answer within 5 s"))??;
    Ok(true)
}
