//! The authority of a site, as its peers know it.

use std::{fmt, sync::Arc};

use model::Timestamp;
use tokio_rustls::rustls::{
    RootCertStore,
    pki_types::{CertificateDer, UnixTime},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use crate::{Error, ErrorKind, Fingerprint, Result, tls};

/// The longest certificate that is taken for one, in bytes. Those of sites have about 600.
const CERTIFICATE_LIMIT_BYTES: usize = 4096;

/// A certificate authority: whatever it has issued comes from its site.
#[derive(Clone)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Authority {
    /// The authority with this certificate, in DER.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when that is no certificate.
    pub fn new(certificate: Vec<u8>) -> Result<Self> {
        if certificate.len() > CERTIFICATE_LIMIT_BYTES {
            return Err(Error::invalid("the certificate of an authority is too long to be one"));
        }
        let certificate = CertificateDer::from(certificate);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots(&certificate)?.into(), tls::provider())
                .build()
                .map_err(|error| {
                    Error::invalid("the certificate of an authority is none").with_source(error)
                })?;
        Ok(Self { certificate, verifier })
    }

    /// The authority's certificate, in DER.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What tells the authority apart from others.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// Checks that the first of these certificates was issued by this authority itself and is valid at this time. What it is
    /// called does not matter.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`].
    pub fn check(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<()> {
        let first =
            chain.first().ok_or_else(|| Error::new(ErrorKind::Untrusted, "there is no certificate"))?;
        self.verifier.verify_client_cert(first, &[], unix_time(now)).map(drop).map_err(|error| {
            Error::new(ErrorKind::Untrusted, "the certificate is not valid").with_source(error)
        })
    }
}

/// Trust in nothing but this authority.
pub(crate) fn roots(certificate: &CertificateDer<'static>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots
        .add(certificate.clone())
        .map_err(|error| Error::invalid("the certificate of an authority is none").with_source(error))?;
    Ok(roots)
}

pub(crate) fn unix_time(moment: Timestamp) -> UnixTime {
    let seconds = u64::try_from(moment.as_microseconds() / 1_000_000).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Authority({})", self.fingerprint())
    }
}
