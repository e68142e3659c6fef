//! What the bridges of peers are here.

use std::collections::BTreeSet;

use api::{MapNetwork, MapNetworks, MappedNetworkView};
use catalog::{KnownPeer, NetworkMap};
use model::NetworkConnection;

use super::find;
use crate::{
    failure::{Failure, Result},
    replicas,
    site::Site,
};

/// Changes what bridges of a peer are here.
pub(crate) async fn map_networks(site: &Site, name: &str, request: MapNetworks) -> Result<KnownPeer> {
    // One at a time, so that none is lost.
    let _admission = site.admission.lock().await;
    let mut known = find(site, name).await?;
    for MapNetwork { theirs, ours, is_test } in request.networks {
        let theirs = match replicas::connection(&theirs)? {
            NetworkConnection::Bridge(bridge) => bridge,
            NetworkConnection::Isolated => {
                return Err(Failure::invalid("isolated is no bridge of another site"));
            }
        };
        let networks = match is_test {
            true => &mut known.networks.test_networks,
            false => &mut known.networks.networks,
        };
        match ours {
            None => networks.remove(&theirs),
            Some(ours) => networks.insert(theirs, replicas::connection(&ours)?),
        };
    }
    site.catalog.set_peer_networks(known.id, &known.networks).await?;
    tracing::info!(peer = %known.name, "what the networks of a site are here was changed");
    Ok(known)
}

/// The map as clients see it.
pub(super) fn view(map: &NetworkMap) -> Vec<MappedNetworkView> {
    let theirs: BTreeSet<_> = map.networks.keys().chain(map.test_networks.keys()).collect();
    let mapped = theirs.into_iter().map(|theirs| MappedNetworkView {
        theirs: theirs.clone(),
        ours: map.networks.get(theirs).map(ToString::to_string),
        test_ours: map.test_networks.get(theirs).map(ToString::to_string),
    });
    mapped.collect()
}
