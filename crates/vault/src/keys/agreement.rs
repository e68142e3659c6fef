//! Key agreement with X25519 (RFC 7748).

use std::fmt;

use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};

/// The public half of a vault's reader key: data is sealed for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReaderKey(pub(crate) [u8; 32]);

impl fmt::Debug for ReaderKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ReaderKey(…)")
    }
}

/// A private key with its public half.
pub(crate) struct PrivateKey {
    key: agreement::PrivateKey,
    public: [u8; 32],
}

impl PrivateKey {
    /// Any 32 bytes are a key: RFC 7748 fixes five of their bits.
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        let key =
            agreement::PrivateKey::from_private_key(&X25519, bytes).expect("any 32 bytes are a private key");
        let public = key.compute_public_key().expect("every private key has a public half");
        let public = public.as_ref().try_into().expect("a public key has 32 bytes");
        Self { key, public }
    }

    pub(crate) fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Derives a key from the secret shared with the owner of a public key. None where the secret would be all zeros,
    /// and so known to everybody (RFC 7748, 6.1): such a public key is nobody's.
    pub(crate) fn agree(
        &self,
        theirs: &[u8; 32],
        derive: impl FnOnce(&[u8]) -> [u8; 32],
    ) -> Option<[u8; 32]> {
        let theirs = UnparsedPublicKey::new(&X25519, theirs);
        let derive =
            |shared: &[u8]| if shared.iter().all(|byte| *byte == 0) { Err(()) } else { Ok(derive(shared)) };
        agreement::agree(&self.key, theirs, (), derive).ok()
    }
}
