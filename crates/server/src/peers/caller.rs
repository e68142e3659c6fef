//! Who calls.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};
use catalog::KnownPeer;
use model::SiteId;
use peer::Fingerprint;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::{authority, known};
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// What a TLS session says of the one who calls.
#[derive(Debug)]
pub(super) struct Session {
    /// The caller's certificates; it holds the key of the first.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// What only the two ends of the session know.
    pub(super) keying: [u8; 32],
    /// The peer that the caller is, as far as its certificate goes, or why it is none.
    pub(super) peer: std::result::Result<SiteId, String>,
}

/// Tells whose certificate it is: that of the one peer whose authority has issued it, whatever it says itself.
pub(super) async fn identify(
    site: &Site,
    certificates: &[CertificateDer<'static>],
) -> Result<std::result::Result<SiteId, String>> {
    if certificates.is_empty() {
        return Ok(Err("this site talks to its peers alone, and the caller shows no certificate".to_owned()));
    }
    let now = site.env.clock.now();
    for known in site.catalog.peers().await? {
        let authority = match authority(&known) {
            Ok(authority) => authority,
            Err(failure) => {
                tracing::error!(reason = failure.detail(), "a peer cannot be recognised");
                continue;
            }
        };
        match authority.check(certificates, now) {
            Ok(()) => return Ok(Ok(known.id)),
            Err(error) if certificates.iter().any(|one| Fingerprint::of(one) == authority.fingerprint()) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                return Ok(Err(format!(
                    "the caller's certificate does not count here: {cause}; this site's clock shows {now}"
                )));
            }
            Err(_) => {}
        }
    }
    Ok(Err("this site is not paired with the caller, or no longer".to_owned()))
}

/// The peer that has sent a request. Looked up for each: one that was removed a moment ago is refused on the connection
/// that it has.
pub(super) struct Peer(pub(super) KnownPeer);

impl FromRequestParts<Site> for Peer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self> {
        let session = parts.extensions.get::<Arc<Session>>();
        let id = match session.map(|session| &session.peer) {
            Some(Ok(id)) => *id,
            Some(Err(why)) => return Err(denied(why.clone())),
            None => return Err(denied("it is not known who calls".to_owned())),
        };
        match known::by_id(site, id).await? {
            None => Err(denied("this site is not paired with the caller, or no longer".to_owned())),
            Some(KnownPeer { ended_at: Some(at), .. }) => {
                Err(denied(format!("the caller's site has ended the pairing ({at})")))
            }
            Some(known) => Ok(Self(known)),
        }
    }
}

fn denied(why: String) -> Failure {
    Failure::new(api::Code::Denied, why).with_hint(
        "pair the sites anew: holdfast site token on one of them, holdfast site pair TOKEN on the other",
    )
}
