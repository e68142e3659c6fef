//! What crosses the wire as JSON. Fields that a reader does not know are ignored, so that a newer site may say more.

use model::{PairingId, PeerAddress, SiteId, SiteName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Digest, hex};

/// The version of the peer API that this Holdfast speaks: the number in its paths.
pub const PROTOCOL: u32 = 1;

/// What a site says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Its id.
    pub id: SiteId,
    /// What it calls itself.
    pub name: SiteName,
    /// Its version of Holdfast.
    pub version: String,
    /// The versions of the peer API that it speaks.
    pub protocols: Vec<u32>,
    /// The time by its clock.
    pub time: Timestamp,
    /// Where it can be called; none when it only calls.
    pub address: Option<PeerAddress>,
    /// Until when the certificate is valid that it has now.
    pub certificate_expires_at: Timestamp,
    /// Whether its last call of the other came through; none when it has not tried, or has no address for it.
    #[serde(default)]
    pub reaches_you: Option<bool>,
}

/// Asks to be paired.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PairRequest {
    /// Who asks.
    pub site: Statement,
    /// The certificate of its authority, in DER.
    #[serde(with = "hex")]
    pub authority: Vec<u8>,
    /// The token that it was given.
    pub token: PairingId,
    /// That it knows the token's secret.
    pub proof: Digest,
}

/// The other half of a pairing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PairAnswer {
    /// Who answers.
    pub site: Statement,
    /// The certificate of its authority, in DER.
    #[serde(with = "hex")]
    pub authority: Vec<u8>,
    /// That it has made the token.
    pub proof: Digest,
}
