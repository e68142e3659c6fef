//! The certificate that a site listens and calls with.

use model::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::Authority;
use crate::hex;

/// A certificate, its key, and what it was issued for.
#[derive(Serialize, Deserialize)]
pub struct Credentials {
    #[serde(with = "hex")]
    pub(super) certificate: Vec<u8>,
    #[serde(with = "hex")]
    pub(super) authority: Vec<u8>,
    #[serde(with = "hex")]
    pub(super) key: Zeroizing<Vec<u8>>,
    /// From when on it is valid.
    pub valid_from: Timestamp,
    /// Until when it is valid.
    pub expires_at: Timestamp,
}

impl Credentials {
    /// The certificate and, after it, that of its authority.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone().into(), self.authority.clone().into()]
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.to_vec()).into()
    }

    /// Whether this authority has issued it.
    pub(super) fn is_of(&self, authority: &CertificateDer<'static>, now: Timestamp) -> bool {
        self.authority == authority.as_ref()
            && Authority::new(self.authority.clone())
                .and_then(|authority| authority.check(&self.chain(), now))
                .is_ok()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credentials").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}
