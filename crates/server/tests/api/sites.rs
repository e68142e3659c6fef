//! Sites that are paired: two servers and more in one process, on loopback.

mod copying;
mod ending;
mod grouping;
mod hostile;
mod hotplug;
mod intervals;
mod pairing;
mod planned;
mod plans;
mod replicating;
mod seeding;
mod sending;
mod standing;

use std::sync::Arc;

use api::{MakePairingToken, PairSite, PeerView};
use env::Env;
use peer::{Authority, Patience, PeerClient, SiteIdentity, pairing::PairingToken};
use server::PeerConfig;

use crate::site::{SetClock, TestSite};

/// A site of this name that listens for peers.
pub async fn site(name: &str) -> TestSite {
    site_by(name, Arc::default()).await
}

async fn site_by(name: &str, clock: Arc<SetClock>) -> TestSite {
    let listen = Some("127.0.0.1:0".parse().unwrap());
    TestSite::start_with(clock, PeerConfig { listen, ..named(name) }).await
}

/// A site of this name that only calls.
pub async fn caller(name: &str) -> TestSite {
    TestSite::start_with(Arc::default(), named(name)).await
}

fn named(name: &str) -> PeerConfig {
    PeerConfig { site_name: Some(name.parse().unwrap()), ..PeerConfig::default() }
}

async fn token(maker: &TestSite) -> String {
    maker.client.make_pairing_token(&MakePairingToken::default()).await.unwrap().token
}

fn with(token: &str) -> PairSite {
    PairSite { token: token.to_owned(), name: None }
}

/// Pairs two sites: `east` makes the token, `west` calls.
pub async fn pair(east: &TestSite, west: &TestSite) {
    west.client.pair_site(&with(&token(east).await)).await.unwrap();
}

/// The only peer of a site.
async fn only_peer(site: &TestSite) -> PeerView {
    let mut peers = site.client.peers().await.unwrap();
    assert_eq!(peers.len(), 1, "{peers:?}");
    peers.remove(0)
}

/// Waits until the only peer of a site is like this.
async fn until(site: &TestSite, holds: impl Fn(&PeerView) -> bool) -> PeerView {
    loop {
        let peer = only_peer(site).await;
        if holds(&peer) {
            return peer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Who a site is, as its data directory says.
fn identity(site: &TestSite) -> SiteIdentity {
    SiteIdentity::open(&site.path("identity"), &Env::system()).unwrap()
}

/// Calls one site in the name of another.
pub async fn call_as(caller: &TestSite, called: &TestSite) -> PeerClient {
    let (id, address) = {
        let view = called.client.site().await.unwrap();
        (view.id, view.peer_address.unwrap().parse().unwrap())
    };
    let authority = Authority::new(identity(called).authority().to_vec()).unwrap();
    PeerClient::new(Arc::new(identity(caller)), id, address, authority).with_patience(Patience::NONE)
}

/// The same token with something else in it.
fn altered(token: &str, alter: impl FnOnce(&mut PairingToken)) -> String {
    let mut token: PairingToken = token.parse().unwrap();
    alter(&mut token);
    token.to_text()
}
