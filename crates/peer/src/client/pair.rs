//! Calling a site that is not a peer yet.

use bytes::Bytes;
use hyper::Method;

use super::{
    PeerClient, check_protocols,
    connection::{connect, exchange},
};
use crate::{
    Authority, Error, ErrorKind, PairAnswer, PairRequest, Result, SiteIdentity, Statement,
    pairing::{Challenge, PairingToken},
    server_name, tls,
};

/// How long the maker of a token may think.
const PAIRING_LIMIT: std::time::Duration = std::time::Duration::from_secs(15);

impl PeerClient {
    /// Becomes the peer of the site that made this token. One attempt: a token counts once.
    ///
    /// What is returned was said by the holder of the authority that the token names, who also knows the token.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`] when another site answers at the token's address, [`ErrorKind::Denied`] when the token is not
    /// known there, was used, or has expired.
    pub async fn pair(
        identity: &SiteIdentity,
        token: &PairingToken,
        own: Statement,
    ) -> Result<(Statement, Authority)> {
        let credentials = identity.credentials();
        let config = tls::pinned_client_config(token.authority, &credentials, identity.env())?;
        let (mut sender, session) = connect(&token.address, &server_name(token.site), config).await?;
        let challenge =
            Challenge { token: token.id, session, maker: token.authority, caller: identity.fingerprint() };
        let request = PairRequest {
            site: own,
            authority: identity.authority().to_vec(),
            token: token.id,
            proof: challenge.prove(&token.secret),
        };
        let body: Bytes = serde_json::to_vec(&request)
            .map_err(|error| Error::invalid("a request cannot be written").with_source(error))?
            .into();
        let answered = exchange(&mut sender, &Method::POST, "/peer/v1/pair", body, PAIRING_LIMIT).await?;
        let PairAnswer { site, authority, proof } = answered.json()?;
        if !challenge.is_answered(proof, &token.secret) {
            return Err(Error::new(ErrorKind::Untrusted, "the site that answers has not made this token"));
        }
        let authority = Authority::new(authority)?;
        if authority.fingerprint() != token.authority || site.id != token.site {
            return Err(Error::new(ErrorKind::Untrusted, "the site that answers is not the token's"));
        }
        check_protocols(&site)?;
        Ok((site, authority))
    }
}
