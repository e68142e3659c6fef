//! The token as text, which a person carries from one site to the other.
//!
//! `holdfast-site-1-` and hexadecimal digits: the maker's site id and the token's (16 characters each), the SHA-256
//! fingerprint of its authority, the secret (32 bytes each), its address, and 4 bytes that catch typing errors.

use std::{fmt, str::FromStr};

use model::{PairingId, PeerAddress, SiteId};
use zeroize::Zeroize as _;

use crate::{Error, Fingerprint, Result, hex};

const PREFIX: &str = "holdfast-site-1-";

/// The longest token, in characters.
const LENGTH_MAX: usize = 1024;

const CHECK_BYTES: usize = 4;

/// The secret of a token: random bytes, forgotten by the maker.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingSecret([u8; 32]);

impl PairingSecret {
    /// The secret of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for PairingSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for PairingSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PairingSecret")
    }
}

/// What one site tells another through a person, so that they find and know one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairingToken {
    /// The site that made the token.
    pub site: SiteId,
    /// The token.
    pub id: PairingId,
    /// The authority of that site.
    pub authority: Fingerprint,
    /// What proves that its holder was given it.
    pub secret: PairingSecret,
    /// Where the site listens.
    pub address: PeerAddress,
}

impl PairingToken {
    /// The token as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(self.site.as_str().as_bytes());
        bytes.extend(self.id.as_str().as_bytes());
        bytes.extend(self.authority.0);
        bytes.extend(self.secret.bytes());
        bytes.extend(self.address.as_str().as_bytes());
        bytes.extend(check(&bytes));
        let text = format!("{PREFIX}{}", hex::encode(&bytes));
        bytes.zeroize();
        text
    }
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = blake3::derive_key("holdfast pairing token v1 check digits", bytes);
    std::array::from_fn(|place| digest[place])
}

impl FromStr for PairingToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let digits = text.strip_prefix(PREFIX).ok_or_else(|| {
            Error::invalid(format!("this is no pairing token: it does not start with {PREFIX}"))
                .with_guidance("make one on the other site: holdfast site token")
        })?;
        let broken = || {
            Error::invalid("the pairing token is not whole, or has a typing error")
                .with_guidance("copy all of the line that holdfast site token prints")
        };
        if text.len() > LENGTH_MAX {
            return Err(broken());
        }
        let bytes = hex::decode(digits).ok_or_else(broken)?;
        let (content, digits) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or_else(broken)?;
        if *digits != check(content) {
            return Err(broken());
        }
        read(content).ok_or_else(broken)
    }
}

fn read(content: &[u8]) -> Option<PairingToken> {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let (site, rest) = content.split_first_chunk::<16>()?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let (authority, rest) = rest.split_first_chunk::<32>()?;
    let (secret, address) = rest.split_first_chunk::<32>()?;
    Some(PairingToken {
        site: text(site)?.parse().ok()?,
        id: text(id)?.parse().ok()?,
        authority: Fingerprint(*authority),
        secret: PairingSecret::new(*secret),
        address: text(address)?.parse().ok()?,
    })
}
