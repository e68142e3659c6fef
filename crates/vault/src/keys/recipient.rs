//! Recipients: whoever has a recipient can let its owner into a vault, and only the owner's identity opens it.

use std::{fmt, str::FromStr};

use env::Entropy;

use super::{
    PrivateKey,
    secret::secret_of_32_bytes,
    text::{IDENTITY, RECIPIENT},
};
use crate::{Error, Result};

secret_of_32_bytes! {
    /// The private half of a [`Recipient`], kept in a file: `holdfast-identity-1-<64 hexadecimal digits>-<8 that check them>`.
    Identity, IDENTITY
}

/// A public key of X25519: `holdfast-recipient-1-<64 hexadecimal digits>-<8 that check them>`. No secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

impl Identity {
    /// A new identity.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(env::random(entropy))
    }

    /// The public half.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient(*PrivateKey::from_bytes(self.as_bytes()).public())
    }

    /// The secret of the slot that has this ephemeral key; none where nobody can have made it.
    pub(crate) fn slot_secret(&self, ephemeral: &[u8; 32]) -> Option<[u8; 32]> {
        let private = PrivateKey::from_bytes(self.as_bytes());
        private.agree(ephemeral, |shared| derive(shared, ephemeral, private.public()))
    }
}

impl Recipient {
    /// The secret of the slot that gets this ephemeral key.
    pub(crate) fn slot_secret(&self, ephemeral: &PrivateKey) -> Result<[u8; 32]> {
        let secret = ephemeral.agree(&self.0, |shared| derive(shared, ephemeral.public(), &self.0));
        secret.ok_or_else(|| Error::invalid("this recipient is nobody's: it has no identity"))
    }
}

fn derive(shared: &[u8], ephemeral: &[u8; 32], recipient: &[u8; 32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("holdfast vault v1 recipient");
    hasher.update(shared).update(ephemeral).update(recipient);
    *hasher.finalize().as_bytes()
}

impl fmt::Display for Recipient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(RECIPIENT.write(&self.0).trim_end())
    }
}

impl FromStr for Recipient {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        RECIPIENT.read(text).map(Self)
    }
}
