//! How peers are: told by them, asked of them, and kept.

use std::time::Duration;

use catalog::{KnownPeer, PeerStanding};
use futures::future;
use model::Timestamp;
use peer::{Patience, Statement};

use crate::{failure::Result, site::Site};

/// How long a peer may take to say how it is.
const HELLO_LIMIT: Duration = Duration::from_secs(10);

/// Asks all peers now and then how they are, and renews the site's certificate in time, until the server stops.
pub(crate) async fn watch(site: Site) {
    loop {
        if let Err(error) = site.peers.identity.renew_if_due() {
            tracing::error!(%error, "the site's certificate could not be renewed");
        }
        if let Err(failure) = look_at_all(&site).await {
            tracing::warn!(reason = failure.detail(), "the peers could not be asked how they are");
        }
        let rest = async {
            tokio::select! {
                () = tokio::time::sleep(site.peers.look_interval) => {}
                () = site.peers.changed.notified() => {}
            }
        };
        if site.stopping.run_until_cancelled(rest).await.is_none() {
            return;
        }
    }
}

async fn look_at_all(site: &Site) -> Result<()> {
    let peers = site.catalog.peers().await?;
    let looks = peers.iter().map(|known| look_at(site, known));
    site.stopping.run_until_cancelled(future::join_all(looks)).await;
    Ok(())
}

/// Asks a peer that can be called how it is, and keeps the answer, or that there was none.
pub(crate) async fn look_at(site: &Site, known: &KnownPeer) {
    if known.address.is_none() || known.ended_at.is_some() {
        return;
    }
    let reached = match tokio::time::timeout(HELLO_LIMIT, greet(site, known)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(failure)) => Err(failure.detail().to_owned()),
        Err(_) => Err("it did not answer within 10 s".to_owned()),
    };
    if let Err(why) = &reached {
        tracing::debug!(peer = %known.name, %why, "a peer does not answer");
    }
    let before = site.peers.reach().insert(known.id, reached.clone());
    if reached.is_ok() && !matches!(before, Some(Ok(()))) {
        // Plans may wait for it.
        site.plans.changed.notify_one();
    }
    match (before, reached) {
        (Some(Ok(())), Err(why)) => tracing::warn!(peer = %known.name, %why, "a peer answers no more"),
        (Some(Err(_)), Ok(())) => tracing::info!(peer = %known.name, "a peer answers again"),
        _ => {}
    }
}

async fn greet(site: &Site, known: &KnownPeer) -> Result<()> {
    let Some(client) = site.peers.client(known, Patience::NONE)? else { return Ok(()) };
    let sent_at = site.env.clock.now();
    let said = client.hello(&site.peers.statement(site, Some(known.id))).await?;
    let taken_us = site.env.clock.now().microseconds_since(sent_at);
    // The peer looked at its clock in between; half of the way is as good a guess as any.
    let asked_at = Timestamp::from_microseconds(sent_at.as_microseconds() + taken_us / 2);
    keep(site, known, &said, asked_at).await
}

/// Keeps what a peer says of itself at this moment.
pub(super) async fn keep(site: &Site, known: &KnownPeer, said: &Statement, at: Timestamp) -> Result<()> {
    let standing = PeerStanding {
        version: said.version.chars().take(100).collect(),
        certificate_expires_at: said.certificate_expires_at,
        clock_ahead_us: said.time.microseconds_since(at),
        reaches_us: said.reaches_you,
    };
    Ok(site.catalog.set_peer_seen(known.id, at, said.address.as_ref(), &standing).await?)
}
