//! Sites that are paired.

use model::{SiteId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::MappedNetworkView;

/// Asks for a pairing token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MakePairingToken {
    /// How long it is valid, in seconds: an hour by default, a week at most.
    #[serde(default)]
    pub valid_seconds: Option<u32>,
}

/// A pairing token. It is shown this once; the site keeps a digest of what is secret in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PairingTokenView {
    /// The token, for the other site.
    pub token: String,
    /// Where the other site will call.
    pub address: String,
    /// Until when it counts, once.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
}

/// Pairs the site with the one that made a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PairSite {
    /// The token.
    pub token: String,
    /// What the peer is to be called here; what it calls itself by default.
    #[serde(default)]
    pub name: Option<String>,
}

/// A site that this one is paired with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: SiteId,
    /// What it is called here.
    pub name: String,
    /// Where it can be called; null when it only calls.
    pub address: Option<String>,
    /// How it stands.
    pub state: PeerState,
    /// Which way connections go.
    pub ways: PeerWays,
    /// The SHA-256 fingerprint of its certificate authority.
    pub authority: String,
    /// Since when the sites are paired.
    #[schema(value_type = String)]
    pub paired_at: Timestamp,
    /// When the other side ended the pairing.
    #[schema(value_type = Option<String>)]
    pub ended_at: Option<Timestamp>,
    /// When it last called or answered.
    #[schema(value_type = Option<String>)]
    pub last_seen_at: Option<Timestamp>,
    /// Its version of Holdfast, when last seen.
    pub version: Option<String>,
    /// Until when the certificate is valid that it had when last seen.
    #[schema(value_type = Option<String>)]
    pub certificate_expires_at: Option<Timestamp>,
    /// How far its clock was ahead of this site's when last seen, in milliseconds; negative when it was behind.
    pub clock_ahead_ms: Option<i64>,
    /// Why the last call of it failed.
    pub problem: Option<String>,
    /// What its bridges are here, by their names there.
    pub networks: Vec<MappedNetworkView>,
}

/// How a peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PeerState {
    /// It answered when it was last called.
    Reachable,
    /// It did not.
    Unreachable,
    /// It has no address: it calls this site.
    CallsUs,
    /// The other side has ended the pairing.
    Ended,
    /// It was not called yet, or a newer server says what this client does not know.
    #[serde(other)]
    Unknown,
}

/// Which way connections between two sites go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PeerWays {
    /// Each reaches the other.
    Both,
    /// This site reaches the peer.
    WeCall,
    /// The peer reaches this site.
    ItCalls,
    /// None that is known.
    #[serde(other)]
    None,
}

/// What came of forgetting a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemovedPeerView {
    /// What it was called.
    pub name: String,
    /// Whether it knows. One that does not is refused when it calls.
    pub is_told: bool,
    /// Why it could not be told.
    pub problem: Option<String>,
}
