//! Sites that are paired.

use bytes::Bytes;
use hyper::Method;

use super::{Client, Result, segment};
use crate::{MakePairingToken, MapNetworks, PairSite, PairingTokenView, PeerView, RemovedPeerView};

impl Client {
    /// All peers, by name, as they were last seen.
    pub async fn peers(&self) -> Result<Vec<PeerView>> {
        self.get("/v1/sites").await
    }

    /// One peer, looked at now.
    pub async fn peer(&self, peer: &str) -> Result<PeerView> {
        self.get(&of(peer)).await
    }

    /// Makes a token with which another site can pair itself with this one.
    pub async fn make_pairing_token(&self, request: &MakePairingToken) -> Result<PairingTokenView> {
        self.post("/v1/sites/tokens", request).await
    }

    /// Pairs the site with the one that made a token.
    pub async fn pair_site(&self, request: &PairSite) -> Result<PeerView> {
        self.post("/v1/sites", request).await
    }

    /// Says what bridges of a peer are here.
    pub async fn map_networks(&self, peer: &str, request: &MapNetworks) -> Result<PeerView> {
        self.send(Method::PATCH, &format!("{}/networks", of(peer)), request).await
    }

    /// Ends a pairing.
    pub async fn remove_peer(&self, peer: &str) -> Result<RemovedPeerView> {
        self.call(Method::DELETE, &of(peer), Bytes::new()).await
    }
}

fn of(peer: &str) -> String {
    format!("/v1/sites/{}", segment(peer))
}
