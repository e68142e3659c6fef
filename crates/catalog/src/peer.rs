//! The sites that this one is paired with, and the tokens by which others become so.

use model::{PairingId, PeerAddress, SiteId, SiteName, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;

use crate::{Catalog, Error, NetworkMap, Result, row};

/// Another site that this one is paired with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPeer {
    /// The site.
    pub id: SiteId,
    /// What it is called here.
    pub name: SiteName,
    /// Where it can be called; none when it only calls.
    pub address: Option<PeerAddress>,
    /// The certificate of its authority, in DER, as hexadecimal digits.
    pub authority: String,
    /// Since when they are paired.
    pub paired_at: Timestamp,
    /// When the other side ended the pairing.
    pub ended_at: Option<Timestamp>,
    /// When it last called or answered.
    pub last_seen_at: Option<Timestamp>,
    /// What it said then.
    pub standing: Option<PeerStanding>,
    /// What its bridges are here. Stays when it is paired anew.
    pub networks: NetworkMap,
}

/// What a peer said of itself when it was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStanding {
    /// Its version of Holdfast.
    pub version: String,
    /// Until when the certificate is valid that it had then.
    pub certificate_expires_at: Timestamp,
    /// How far its clock was ahead of this site's; negative when it was behind.
    pub clock_ahead_us: i64,
    /// Whether its own calls came through; none when it had not tried.
    pub reaches_us: Option<bool>,
}

/// A pairing token that is out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenToken {
    /// The token.
    pub id: PairingId,
    /// What is kept of its secret, as hexadecimal digits.
    pub secret_digest: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it counts.
    pub expires_at: Timestamp,
}

impl Catalog {
    /// Keeps a peer; one with this id is replaced, but for what its bridges are here: see [`Catalog::set_peer_networks`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`] when the name is that of another peer.
    pub async fn put_peer(&self, peer: &KnownPeer) -> Result<()> {
        let sql = "INSERT INTO peers (id, name, address, authority, paired_at) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (id) DO UPDATE SET name = $2, address = $3, authority = $4, paired_at = $5, \
                   ended_at = NULL, last_seen_at = NULL, standing = NULL";
        let query = sqlx::query(sql)
            .bind(peer.id.to_string())
            .bind(peer.name.to_string())
            .bind(peer.address.as_ref().map(ToString::to_string))
            .bind(peer.authority.clone())
            .bind(peer.paired_at.as_microseconds());
        self.execute(&format!("keeping the site {}", peer.name), query).await.map(|_| ())
    }

    /// All peers, by name.
    pub async fn peers(&self) -> Result<Vec<KnownPeer>> {
        let rows = sqlx::query("SELECT * FROM peers ORDER BY name").fetch_all(&self.pool).await;
        rows.map_err(|error| Error::from_database("listing sites", error))?.iter().map(read).collect()
    }

    /// Keeps that a peer was seen, what it said, and where it says that it is. A peer that is no longer known is none of its
    /// business.
    pub async fn set_peer_seen(
        &self,
        id: SiteId,
        at: Timestamp,
        address: Option<&PeerAddress>,
        standing: &PeerStanding,
    ) -> Result<()> {
        let sql = "UPDATE peers SET last_seen_at = $2, address = $3, standing = $4 WHERE id = $1";
        let query = sqlx::query(sql)
            .bind(id.to_string())
            .bind(at.as_microseconds())
            .bind(address.map(ToString::to_string))
            .bind(row::json_column(standing)?);
        self.execute("keeping how a site stands", query).await.map(|_| ())
    }

    /// Keeps that the other side ended the pairing.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn set_peer_ended(&self, id: SiteId, at: Timestamp) -> Result<()> {
        let query = sqlx::query("UPDATE peers SET ended_at = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(at.as_microseconds());
        self.change(&format!("ending the pairing with the site {id}"), query).await
    }

    /// Keeps what the bridges of a peer are here.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn set_peer_networks(&self, id: SiteId, networks: &NetworkMap) -> Result<()> {
        let query = sqlx::query("UPDATE peers SET networks = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(row::json_column(networks)?);
        self.change(&format!("mapping the networks of the site {id}"), query).await
    }

    /// Forgets a peer.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn remove_peer(&self, id: SiteId) -> Result<()> {
        let query = sqlx::query("DELETE FROM peers WHERE id = $1").bind(id.to_string());
        self.change(&format!("forgetting the site {id}"), query).await
    }

    /// Keeps a token, and forgets those that have expired.
    pub async fn add_pairing_token(&self, token: &OpenToken) -> Result<()> {
        let expired = sqlx::query("DELETE FROM pairing_tokens WHERE expires_at < $1")
            .bind(token.created_at.as_microseconds());
        self.execute("forgetting expired tokens", expired).await?;
        let sql =
            "INSERT INTO pairing_tokens (id, secret_digest, created_at, expires_at) VALUES ($1, $2, $3, $4)";
        let query = sqlx::query(sql)
            .bind(token.id.to_string())
            .bind(token.secret_digest.clone())
            .bind(token.created_at.as_microseconds())
            .bind(token.expires_at.as_microseconds());
        self.execute("keeping a pairing token", query).await.map(|_| ())
    }

    /// The token with this id.
    pub async fn pairing_token(&self, id: PairingId) -> Result<Option<OpenToken>> {
        let query = sqlx::query("SELECT * FROM pairing_tokens WHERE id = $1").bind(id.to_string());
        let found = query.fetch_optional(&self.pool).await;
        let found = found.map_err(|error| Error::from_database("looking for a pairing token", error))?;
        found.as_ref().map(read_token).transpose()
    }

    /// Uses a token up.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] when somebody else has used it up.
    pub async fn use_pairing_token(&self, id: PairingId) -> Result<()> {
        let query = sqlx::query("DELETE FROM pairing_tokens WHERE id = $1").bind(id.to_string());
        self.change("using a pairing token", query).await
    }
}

fn read(row: &AnyRow) -> Result<KnownPeer> {
    Ok(KnownPeer {
        id: row::parsed(row, "id")?,
        name: row::parsed(row, "name")?,
        address: row::optional_parsed(row, "address")?,
        authority: row::text(row, "authority")?,
        paired_at: row::time(row, "paired_at")?,
        ended_at: row::optional_time(row, "ended_at")?,
        last_seen_at: row::optional_time(row, "last_seen_at")?,
        standing: row::optional_json(row, "standing")?,
        networks: row::optional_json(row, "networks")?.unwrap_or_default(),
    })
}

fn read_token(row: &AnyRow) -> Result<OpenToken> {
    Ok(OpenToken {
        id: row::parsed(row, "id")?,
        secret_digest: row::text(row, "secret_digest")?,
        created_at: row::time(row, "created_at")?,
        expires_at: row::time(row, "expires_at")?,
    })
}
