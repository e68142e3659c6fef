//! Connections that nobody else can read.

use std::{fmt, io, sync::Arc};

use image::{Error, ErrorKind, Result};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};

use crate::endpoint::Stream;

/// How a server proves who it is, and which clients it lets in. Clients must ask for TLS before anything else.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// A server with this chain of certificates, its own first, and its private key, both as PEM. With certificates of
    /// client authorities, only clients with a certificate of theirs are let in.
    ///
    /// # Errors
    /// `Protocol` for what is no PEM, no key of the certificate's, or no certificate.
    pub fn from_pem(certificates: &[u8], key: &[u8], client_authorities: Option<&[u8]>) -> Result<Self> {
        let chain = all_certificates(certificates)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(unusable("the private key"))?;
        let config = match client_authorities {
            None => ServerConfig::builder().with_no_client_auth(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in all_certificates(authorities)? {
                    roots.add(authority).map_err(unusable("a client authority"))?;
                }
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
                let verifier = verifier.map_err(unusable("the client authorities"))?;
                ServerConfig::builder().with_client_cert_verifier(verifier)
            }
        };
        let config = config.with_single_cert(chain, key).map_err(unusable("the certificate"))?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// The server's side of the handshake.
    pub(super) async fn accept(&self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(self.0.accept(stream).await?))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").finish_non_exhaustive()
    }
}

fn all_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<std::result::Result<Vec<_>, _>>();
    let certificates = certificates.map_err(unusable("a certificate"))?;
    match certificates.is_empty() {
        true => Err(Error::new(ErrorKind::Protocol, "TLS: there is no certificate in the PEM")),
        false => Ok(certificates),
    }
}

fn unusable<E: std::error::Error + Send + Sync + 'static>(what: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::new(ErrorKind::Protocol, format!("TLS: {what} cannot be used")).with_source(error)
}
