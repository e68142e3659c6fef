//! How peers are, and that nothing waits for them.

use std::sync::Arc;

use api::{CheckStatus, Code, PeerState, PeerWays};

use super::{caller, only_peer, pair, site, site_by, token, until, with};
use crate::site::{SetClock, problem};

#[tokio::test]
async fn one_that_cannot_be_called_calls() {
    let (east, west) = (site("east").await, caller("west").await);
    pair(&east, &west).await;
    let seen = only_peer(&west).await;
    assert_eq!((seen.state, seen.ways), (PeerState::Reachable, PeerWays::WeCall));
    let calls = until(&east, |peer| peer.ways == PeerWays::ItCalls).await;
    assert_eq!((calls.state, calls.address), (PeerState::CallsUs, None));
    let seen_at = calls.last_seen_at.unwrap();
    until(&east, |peer| peer.last_seen_at.unwrap() > seen_at).await;
}

#[tokio::test]
async fn each_works_without_the_other_and_they_find_one_another_again() {
    let (east, west) = (site("east").await, site("west").await);
    pair(&east, &west).await;
    until(&east, |peer| peer.ways == PeerWays::Both).await;
    let before = only_peer(&east).await;
    let left = west.stop().await;
    let away = until(&east, |peer| peer.state == PeerState::Unreachable).await;
    assert!(away.problem.is_some() && away.last_seen_at >= before.last_seen_at);
    let doctor = east.client.doctor().await.unwrap();
    let check = doctor.iter().find(|check| check.name == "site west").unwrap();
    assert_eq!(check.status, CheckStatus::Warning);
    east.create_vault("main").await;

    // Another server over the same data that listens nowhere: it says so when it calls.
    let west = crate::site::TestSite::start_over(left).await;
    let back = until(&east, |peer| peer.state == PeerState::CallsUs).await;
    assert_eq!((back.id, back.paired_at), (before.id, before.paired_at));
    // The answer to the call that east has just seen may still be on its way.
    until(&west, |peer| peer.state == PeerState::Reachable).await;
}

#[tokio::test]
async fn a_restart_on_another_port_is_learnt() {
    let (east, west) = (site("east").await, site("west").await);
    pair(&east, &west).await;
    until(&east, |peer| peer.ways == PeerWays::Both).await;
    let before = only_peer(&east).await.address;
    let west = west.restart().await;
    let moved = west.client.site().await.unwrap().peer_address;
    assert_ne!(moved, before);
    until(&east, |peer| peer.address == moved && peer.ways == PeerWays::Both).await;
    let east = east.restart().await;
    until(&east, |peer| peer.ways == PeerWays::Both).await;
}

#[tokio::test]
async fn clocks_that_differ_are_shown() {
    let clock = Arc::new(SetClock::default());
    clock.advance_hours(3);
    let (east, west) = (site("east").await, site_by("west", clock).await);
    pair(&east, &west).await;
    const HOUR_MS: i64 = 3_600_000;
    for (site, expected_ms) in [(&east, 3 * HOUR_MS), (&west, -3 * HOUR_MS)] {
        let peer = until(site, |peer| peer.clock_ahead_ms.is_some()).await;
        assert!((peer.clock_ahead_ms.unwrap() - expected_ms).abs() < HOUR_MS / 2, "{peer:?}");
    }
    let doctor = east.client.doctor().await.unwrap();
    let check = doctor.iter().find(|check| check.name == "site west").unwrap();
    assert_eq!(check.status, CheckStatus::Warning);
    assert!(check.hint.as_deref().unwrap().contains("NTP"), "{check:?}");
}

#[tokio::test]
async fn a_clock_of_another_decade_is_named_as_the_cause() {
    let (east, west) =
        (site("east").await, site_by("west", Arc::new(SetClock::at("2046-01-01T00:00:00Z"))).await);
    let refused = problem(west.client.pair_site(&with(&token(&east).await)).await);
    assert_eq!(refused.code, Code::Denied);
    assert!(refused.detail.contains("clock"), "{refused:?}");
}

#[tokio::test]
async fn the_doctor_tells_of_listener_and_certificate() {
    let (east, west) = (site("east").await, caller("west").await);
    let address = east.client.site().await.unwrap().peer_address.unwrap();
    let doctor = east.client.doctor().await.unwrap();
    let detail = |name: &str| doctor.iter().find(|check| check.name == name).unwrap().detail.clone();
    assert!(detail("listener for peers").contains(&address));
    assert!(detail("certificate for peers").contains("valid until"));
    let doctor = west.client.doctor().await.unwrap();
    let listener = doctor.iter().find(|check| check.name == "listener for peers").unwrap();
    assert!(listener.detail.contains("does not listen"), "{listener:?}");
}
