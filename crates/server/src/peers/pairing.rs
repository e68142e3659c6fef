//! Becoming peers.

use std::time::Duration;

use api::{Code, MakePairingToken, PairSite, PairingTokenView};
use catalog::{KnownPeer, OpenToken};
use model::{PairingId, SiteName, Timestamp};
use peer::{
    Authority, PairAnswer, PairRequest, PeerClient, Statement,
    pairing::{Challenge, PairingSecret, PairingToken, SecretDigest},
};

use super::{caller::Session, known, watch};
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// How long a token counts unless somebody says otherwise, and at most.
const VALID_SECONDS_DEFAULT: u32 = 3600;
const VALID_SECONDS_MAX: u32 = 7 * 24 * 3600;

/// How long the first look at a new peer may take.
const FIRST_LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Makes a token for another site. Its secret is forgotten at once.
pub(crate) async fn make_token(site: &Site, request: &MakePairingToken) -> Result<PairingTokenView> {
    let address = site.peers.address.clone().ok_or_else(|| {
        Failure::conflict("this site does not listen for peers, so no other could use the token").with_hint(
            "start the server with --peer-listen HOST:PORT; or make the token on the other site, and pair here",
        )
    })?;
    let valid_seconds = request.valid_seconds.unwrap_or(VALID_SECONDS_DEFAULT);
    if !(1..=VALID_SECONDS_MAX).contains(&valid_seconds) {
        return Err(Failure::invalid("a token is valid for a second at least and a week at most"));
    }
    let (entropy, now) = (&*site.env.entropy, site.env.clock.now());
    let token = PairingToken {
        site: site.peers.identity.id(),
        id: PairingId::from_random(env::random(entropy)),
        authority: site.peers.identity.fingerprint(),
        secret: PairingSecret::new(env::random(entropy)),
        address: address.clone(),
    };
    let expires_at =
        Timestamp::from_microseconds(now.as_microseconds() + i64::from(valid_seconds) * 1_000_000);
    let secret_digest = peer::hex::encode(&SecretDigest::of(&token.secret).0);
    site.catalog
        .add_pairing_token(&OpenToken { id: token.id, secret_digest, created_at: now, expires_at })
        .await?;
    Ok(PairingTokenView { token: token.to_text(), address: address.to_string(), expires_at })
}

/// Becomes the peer of the site that has made this token.
pub(crate) async fn pair(site: &Site, request: &PairSite) -> Result<KnownPeer> {
    let token: PairingToken = request.token.parse()?;
    let name = request.name.as_deref().map(str::parse::<SiteName>).transpose();
    let name = name.map_err(|error| Failure::invalid(format!("the site's name: {error}")))?;
    if token.site == site.peers.identity.id() {
        return Err(Failure::conflict("this site has made the token itself")
            .with_hint("give it to the other site: holdfast site pair TOKEN"));
    }
    let peers = site.catalog.peers().await?;
    if let Some(name) = &name
        && peers.iter().any(|peer| peer.name == *name && peer.id != token.site)
    {
        return Err(
            Failure::conflict(format!("another peer is called {name}")).with_hint("choose another --name")
        );
    }
    let own = site.peers.statement(site, None);
    let (said, authority) = PeerClient::pair(&site.peers.identity, &token, own).await?;
    let known = keep(site, name.as_ref(), &said, &authority).await?;
    let look = watch::look_at(site, &known);
    if tokio::time::timeout(FIRST_LOOK_LIMIT, look).await.is_err() {
        tracing::warn!(peer = %known.name, "the new peer did not answer in time");
    }
    known::find(site, known.id.as_str()).await
}

/// Answers a site that asks to be paired.
pub(super) async fn accept(site: &Site, session: &Session, request: PairRequest) -> Result<PairAnswer> {
    let authority = Authority::new(request.authority)?;
    let now = site.env.clock.now();
    authority.check(&session.certificates, now).map_err(|error| {
        Failure::from(error).during("the authority that the caller names has not sent it")
    })?;
    // One answer for all that can be wrong with a token: a stranger learns nothing.
    let refused = || {
        Failure::new(Code::Denied, "the pairing token is not known here, was used already, or has expired")
            .with_hint("make a new one on that site: holdfast site token")
    };
    let token = site.catalog.pairing_token(request.token).await?.ok_or_else(refused)?;
    let digest = peer::hex::decode(&token.secret_digest).and_then(|digest| digest.try_into().ok());
    let digest = SecretDigest(digest.ok_or_else(refused)?);
    let challenge = Challenge {
        token: request.token,
        session: session.keying,
        maker: site.peers.identity.fingerprint(),
        caller: authority.fingerprint(),
    };
    if token.expires_at < now || !challenge.holds(request.proof, digest) {
        return Err(refused());
    }
    if !request.site.protocols.contains(&peer::PROTOCOL) {
        return Err(Failure::conflict(format!(
            "{} speaks versions {:?} of the peer API, and this site speaks {}",
            request.site.name,
            request.site.protocols,
            peer::PROTOCOL
        ))
        .with_hint("bring the older of the two up to date"));
    }
    check_not_another(site, &request.site, &authority).await?;
    // Of two that have the same proof one finds the token gone.
    site.catalog.use_pairing_token(token.id).await.map_err(|_| refused())?;
    let known = keep(site, None, &request.site, &authority).await?;
    watch::keep(site, &known, &request.site, now).await?;
    // It knows this site once it has the answer, and says so by calling.
    site.peers.reach().remove(&known.id);
    Ok(PairAnswer {
        site: site.peers.statement(site, Some(known.id)),
        authority: site.peers.identity.authority().to_vec(),
        proof: challenge.answer(digest),
    })
}

/// Keeps a new peer; the same site paired anew takes its own place.
async fn keep(
    site: &Site,
    name: Option<&SiteName>,
    said: &Statement,
    authority: &Authority,
) -> Result<KnownPeer> {
    check_not_another(site, said, authority).await?;
    let before = known::by_id(site, said.id).await?;
    let name = match (name, &before) {
        (Some(name), _) => name.clone(),
        (None, Some(known)) => known.name.clone(),
        (None, None) => known::free_name(site, &said.name, said.id).await?,
    };
    let known = KnownPeer {
        id: said.id,
        name,
        address: said.address.clone(),
        authority: peer::hex::encode(authority.certificate()),
        paired_at: site.env.clock.now(),
        ended_at: None,
        last_seen_at: None,
        standing: None,
        networks: before.map(|known| known.networks).unwrap_or_default(),
    };
    site.catalog.put_peer(&known).await?;
    tracing::info!(peer = %known.name, id = %known.id, authority = %authority.fingerprint(), "paired with a site");
    Ok(known)
}

/// A site has one authority for ever: an id with another one is somebody else's.
async fn check_not_another(site: &Site, said: &Statement, authority: &Authority) -> Result<()> {
    if said.id == site.peers.identity.id() {
        return Err(Failure::conflict("the site says that it is this one: was its data directory copied?"));
    }
    match known::by_id(site, said.id).await? {
        Some(known) if known.authority != peer::hex::encode(authority.certificate()) => {
            Err(Failure::conflict(format!("the peer {} has this id and another authority", known.name))
                .with_hint(format!(
                    "if it was set up anew, forget the old one first: holdfast site remove {}",
                    known.name
                )))
        }
        _ => Ok(()),
    }
}
