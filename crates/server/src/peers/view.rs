//! Peers as the API shows them.

use api::{CheckStatus, CheckView, PeerState, PeerView, PeerWays};
use catalog::KnownPeer;

use super::{authority, networks};
use crate::{failure::Result, site::Site};

/// A clock that differs by more makes times of two sites hard to compare, in milliseconds.
const CLOCK_DIFFERENCE_MAX_MS: i64 = 5_000;

/// A certificate that was not renewed although less than this is left of it.
const EXPIRY_WARNING_DAYS: u32 = 30;

/// All peers, by name.
pub(crate) async fn list(site: &Site) -> Result<Vec<PeerView>> {
    Ok(site.catalog.peers().await?.iter().map(|known| view(site, known)).collect())
}

/// A peer, as it was when it was last seen.
pub(crate) fn view(site: &Site, known: &KnownPeer) -> PeerView {
    let reach = site.peers.reach().get(&known.id).cloned();
    let standing = known.standing.as_ref();
    let state = match (&known.ended_at, &known.address, &reach) {
        (Some(_), ..) => PeerState::Ended,
        (None, None, _) => PeerState::CallsUs,
        (None, Some(_), Some(Ok(()))) => PeerState::Reachable,
        (None, Some(_), Some(Err(_))) => PeerState::Unreachable,
        (None, Some(_), None) => PeerState::Unknown,
    };
    let ways = match (matches!(reach, Some(Ok(()))), standing.and_then(|standing| standing.reaches_us)) {
        _ if known.ended_at.is_some() => PeerWays::None,
        (true, Some(true)) => PeerWays::Both,
        (true, _) => PeerWays::WeCall,
        (false, Some(true)) => PeerWays::ItCalls,
        // One that only calls cannot tell whether it gets through but by calling.
        (false, _) if known.address.is_none() && known.last_seen_at.is_some() => PeerWays::ItCalls,
        (false, _) => PeerWays::None,
    };
    PeerView {
        id: known.id,
        name: known.name.to_string(),
        address: known.address.as_ref().map(ToString::to_string),
        state,
        ways,
        authority: authority(known).map(|authority| authority.fingerprint().to_string()).unwrap_or_default(),
        paired_at: known.paired_at,
        ended_at: known.ended_at,
        last_seen_at: known.last_seen_at,
        version: standing.map(|standing| standing.version.clone()),
        certificate_expires_at: standing.map(|standing| standing.certificate_expires_at),
        clock_ahead_ms: standing.map(|standing| standing.clock_ahead_us / 1000),
        problem: reach.and_then(std::result::Result::err),
        networks: networks::view(&known.networks),
    }
}

/// What `doctor` says of the listener, the certificate, and each peer.
pub(crate) async fn check(site: &Site) -> Result<Vec<CheckView>> {
    let peers = list(site).await?;
    let mut checks = vec![listener(site), certificate(site)];
    checks.extend(peers.iter().map(|peer| one(site, peer)));
    Ok(checks)
}

fn listener(site: &Site) -> CheckView {
    let detail = match (site.peers.listening(), site.peers.address()) {
        (Some(listening), Some(address)) => {
            format!("listens on {listening}; peers are told to call {address}")
        }
        _ => "does not listen: this site calls its peers, and none can call it".to_owned(),
    };
    CheckView { name: "listener for peers".to_owned(), status: CheckStatus::Ok, detail, hint: None }
}

fn certificate(site: &Site) -> CheckView {
    let expires_at = site.peers.identity().credentials().expires_at;
    let is_late = expires_at < site.env.clock.now().plus_days(EXPIRY_WARNING_DAYS);
    CheckView {
        name: "certificate for peers".to_owned(),
        status: if is_late { CheckStatus::Warning } else { CheckStatus::Ok },
        detail: format!("valid until {expires_at}; renewed by itself in time"),
        hint: is_late.then(|| "the server's log says why it was not renewed".to_owned()),
    }
}

fn one(site: &Site, peer: &PeerView) -> CheckView {
    let name = format!("site {}", peer.name);
    let warning = |detail: String, hint: &str| CheckView {
        name: name.clone(),
        status: CheckStatus::Warning,
        detail,
        hint: Some(hint.to_owned()),
    };
    if peer.state == PeerState::Ended {
        return warning(
            "the other site has ended the pairing".to_owned(),
            "forget it: holdfast site remove, or pair anew",
        );
    }
    if let Some(problem) = &peer.problem {
        return warning(problem.clone(), "this site works on without it; see holdfast site show");
    }
    let clock_ahead_ms = peer.clock_ahead_ms.unwrap_or(0);
    if clock_ahead_ms.abs() > CLOCK_DIFFERENCE_MAX_MS {
        let detail = format!("its clock differs by {} s from this site's", clock_ahead_ms / 1000);
        return warning(detail, "set the clocks of both sites by NTP");
    }
    let soon = site.env.clock.now().plus_days(EXPIRY_WARNING_DAYS);
    match peer.certificate_expires_at {
        Some(expires_at) if expires_at < soon => warning(
            format!("the certificate that it had when last seen is valid until {expires_at}"),
            "the log of its server says why it was not renewed",
        ),
        _ => {
            let seen = peer.last_seen_at.map_or("not seen yet".to_owned(), |at| format!("last seen {at}"));
            CheckView { name, status: CheckStatus::Ok, detail: seen, hint: None }
        }
    }
}
