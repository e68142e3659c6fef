//! Proofs of a token's secret.

use model::PairingId;

use super::PairingSecret;
use crate::{Digest, Fingerprint};

/// What the maker of a token keeps of its secret. It checks proofs and makes none for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretDigest(pub [u8; 32]);

impl SecretDigest {
    /// What is kept of this secret.
    #[must_use]
    pub fn of(secret: &PairingSecret) -> Self {
        Self(blake3::derive_key("holdfast pairing v1 secret digest", secret.bytes()))
    }
}

/// What is to be proved: knowledge of one token, in one TLS session, between two authorities.
#[derive(Debug, Clone)]
pub struct Challenge {
    /// The token.
    pub token: PairingId,
    /// Keying material that only the two ends of the session have (RFC 9266).
    pub session: [u8; 32],
    /// The authority of the token's maker.
    pub maker: Fingerprint,
    /// The authority of the caller.
    pub caller: Fingerprint,
}

impl Challenge {
    /// The caller's proof: the secret, hidden from all who do not know its digest.
    #[must_use]
    pub fn prove(&self, secret: &PairingSecret) -> Digest {
        let mask = self.mask("caller", SecretDigest::of(secret));
        Digest(std::array::from_fn(|place| secret.bytes()[place] ^ mask[place]))
    }

    /// Whether a caller's proof shows the secret with this digest.
    #[must_use]
    pub fn holds(&self, proof: Digest, digest: SecretDigest) -> bool {
        let mask = self.mask("caller", digest);
        let secret = PairingSecret::new(std::array::from_fn(|place| proof.0[place] ^ mask[place]));
        // BLAKE3's digests compare in constant time.
        blake3::Hash::from(SecretDigest::of(&secret).0) == blake3::Hash::from(digest.0)
    }

    /// The maker's proof.
    #[must_use]
    pub fn answer(&self, digest: SecretDigest) -> Digest {
        Digest(self.mask("maker", digest))
    }

    /// Whether a maker's proof shows that it knows the secret's digest.
    #[must_use]
    pub fn is_answered(&self, answer: Digest, secret: &PairingSecret) -> bool {
        blake3::Hash::from(self.answer(SecretDigest::of(secret)).0) == blake3::Hash::from(answer.0)
    }

    fn mask(&self, role: &str, digest: SecretDigest) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&digest.0);
        hasher.update(b"holdfast pairing v1\0").update(role.as_bytes()).update(b"\0");
        hasher.update(self.token.as_str().as_bytes()).update(&self.session);
        hasher.update(&self.maker.0).update(&self.caller.0);
        *hasher.finalize().as_bytes()
    }
}
