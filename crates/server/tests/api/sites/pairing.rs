//! Becoming peers, and being peers no longer.

use std::sync::Arc;

use api::{Code, MakePairingToken, PairSite, PeerState, PeerWays};
use model::PairingId;
use peer::{ErrorKind, pairing::PairingSecret};

use super::{altered, call_as, caller, only_peer, pair, site, site_by, token, until, with};
use crate::site::{SetClock, code, problem};

#[tokio::test]
async fn two_sites_know_one_another_from_both_sides() {
    let (east, west) = (site("east").await, site("west").await);
    let request = PairSite { name: Some("the-other".to_owned()), ..with(&token(&east).await) };
    let paired = west.client.pair_site(&request).await.unwrap();
    assert_eq!((paired.name.as_str(), paired.state), ("the-other", PeerState::Reachable));
    let (east_view, west_view) = (east.client.site().await.unwrap(), west.client.site().await.unwrap());
    let seen_in_east = until(&east, |peer| peer.ways == PeerWays::Both).await;
    let seen_in_west = until(&west, |peer| peer.ways == PeerWays::Both).await;
    assert_eq!((seen_in_east.id, seen_in_east.name.as_str()), (west_view.id, "west"));
    assert_eq!((seen_in_west.id, seen_in_west.name.as_str()), (east_view.id, "the-other"));
    assert_eq!(seen_in_east.authority, west_view.authority);
    assert_eq!(seen_in_east.certificate_expires_at, Some(west_view.certificate_expires_at));
    assert_eq!(
        (seen_in_east.address, seen_in_west.address),
        (west_view.peer_address, east_view.peer_address)
    );
    assert_eq!(seen_in_west.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert!(seen_in_west.clock_ahead_ms.unwrap().abs() < 60_000);
}

#[tokio::test]
async fn a_token_counts_once_in_time_and_whole() {
    let clock = Arc::<SetClock>::default();
    let (east, west, third) =
        (site_by("east", clock.clone()).await, site("west").await, caller("third").await);
    let used = token(&east).await;
    west.client.pair_site(&with(&used)).await.unwrap();
    assert_eq!(code(third.client.pair_site(&with(&used)).await), Code::Denied);
    assert_eq!(code(west.client.pair_site(&with(&used)).await), Code::Denied, "not even by the same site");

    let fresh = token(&east).await;
    let guessed = altered(&fresh, |token| token.secret = PairingSecret::new([7; 32]));
    let unknown = altered(&fresh, |token| token.id = PairingId::from_random([7; 10]));
    for wrong in [&guessed, &unknown] {
        let refused = problem(third.client.pair_site(&with(wrong)).await);
        assert_eq!(refused.code, Code::Denied, "{refused:?}");
        assert!(refused.hint.unwrap().contains("holdfast site token"));
    }
    for broken in ["", "holdfast-site-1-00", &fresh[..fresh.len() - 2], &fresh.replace("site-1-", "site-9-")]
    {
        assert_eq!(code(third.client.pair_site(&with(broken)).await), Code::Invalid, "{broken}");
    }
    clock.advance_hours(2);
    assert_eq!(code(third.client.pair_site(&with(&fresh)).await), Code::Denied, "it has expired");
    assert!(third.client.peers().await.unwrap().is_empty());
    assert_eq!(only_peer(&east).await.name, "west");
}

#[tokio::test]
async fn somebody_in_between_is_noticed_before_anything_is_said() {
    let (east, west, mallory) = (site("east").await, site("west").await, site("mallory").await);
    let fresh = token(&east).await;
    let elsewhere = mallory.client.site().await.unwrap().peer_address.unwrap();
    let diverted = altered(&fresh, |token| token.address = elsewhere.parse().unwrap());
    let refused = problem(west.client.pair_site(&with(&diverted)).await);
    assert_eq!(refused.code, Code::Denied);
    assert!(refused.detail.contains("another site answers"), "{refused:?}");
    assert!(west.client.peers().await.unwrap().is_empty());
    assert!(mallory.client.peers().await.unwrap().is_empty());
    west.client.pair_site(&with(&fresh)).await.unwrap();
}

#[tokio::test]
async fn a_site_is_not_paired_with_itself_nor_without_a_listener() {
    let (east, west) = (site("east").await, caller("west").await);
    assert_eq!(code(east.client.pair_site(&with(&token(&east).await)).await), Code::Conflict);
    let refused = problem(west.client.make_pairing_token(&MakePairingToken::default()).await);
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.hint.unwrap().contains("--peer-listen"));
    let endless = MakePairingToken { valid_seconds: Some(u32::MAX) };
    assert_eq!(code(east.client.make_pairing_token(&endless).await), Code::Invalid);
}

#[tokio::test]
async fn names_are_each_peer_s_own() {
    let (east, first, second) = (site("east").await, caller("west").await, caller("west").await);
    pair(&east, &first).await;
    pair(&east, &second).await;
    let names: Vec<_> = east.client.peers().await.unwrap().into_iter().map(|peer| peer.name).collect();
    let id = second.client.site().await.unwrap().id;
    assert_eq!(names, ["west".to_owned(), format!("west-{id}")]);
    let taken = PairSite { name: Some("east".to_owned()), ..with(&token(&east).await) };
    let (other, third) = (site("north").await, caller("third").await);
    pair(&east, &third).await;
    let taken = PairSite { token: token(&other).await, ..taken };
    assert_eq!(code(third.client.pair_site(&taken).await), Code::Conflict);
    assert!(other.client.peers().await.unwrap().is_empty(), "and the token was not used");
}

#[tokio::test]
async fn a_removed_peer_is_refused_and_told() {
    let (east, west) = (site("east").await, site("west").await);
    pair(&east, &west).await;
    let client = call_as(&west, &east).await;
    assert_eq!(client.site().await.unwrap().name.as_str(), "east");

    let removed = east.client.remove_peer("west").await.unwrap();
    assert!(removed.is_told, "{removed:?}");
    assert_eq!(client.site().await.unwrap_err().kind(), ErrorKind::Denied, "also on the connection it had");
    assert_eq!(call_as(&west, &east).await.site().await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(call_as(&east, &west).await.site().await.unwrap_err().kind(), ErrorKind::Denied);
    let ended = only_peer(&west).await;
    assert_eq!((ended.state, ended.ways), (PeerState::Ended, PeerWays::None));
    assert!(east.client.peers().await.unwrap().is_empty());
    assert_eq!(code(east.client.remove_peer("west").await), Code::NotFound);

    pair(&west, &east).await;
    assert_eq!(until(&west, |peer| peer.ways == PeerWays::Both).await.name, "east");
    assert!(call_as(&west, &east).await.site().await.is_ok());
}

#[tokio::test]
async fn a_peer_that_is_away_is_removed_and_finds_out_when_it_calls() {
    let (east, west) = (site("east").await, caller("west").await);
    pair(&east, &west).await;
    let removed = east.client.remove_peer("west").await.unwrap();
    assert_eq!((removed.is_told, removed.problem), (false, None));
    let refused = until(&west, |peer| peer.state == PeerState::Unreachable).await;
    assert!(refused.problem.as_deref().unwrap().contains("not paired"), "{refused:?}");
}
