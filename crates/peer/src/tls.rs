//! TLS between sites: version 1.3, a certificate on both sides, no name but the site's id.

use std::{fmt, sync::Arc};

use env::{Clock, Env};
use model::SiteId;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error as TlsError,
    ServerConfig, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{self, CryptoProvider},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    time_provider::TimeProvider,
    version::TLS13,
};

use crate::{
    Authority, Error, ErrorKind, Fingerprint, Result,
    identity::{Credentials, roots, unix_time},
};

/// The one application protocol (RFC 7301).
const HTTP: &[u8] = b"http/1.1";

/// The name in a site's certificate. It says nothing of where the site is: addresses change, and it may have several.
#[must_use]
pub fn server_name(id: SiteId) -> String {
    format!("{id}.holdfast.internal")
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(crypto::aws_lc_rs::default_provider())
}

/// TLS for listening to peers. Any certificate is let in whose key the caller holds, and none: who the caller is, the
/// listener asks each [`Authority`] it knows. So a caller that is refused can be told why.
///
/// # Errors
/// When the credentials are not fit for it.
pub fn server_config(credentials: &Credentials, env: &Env) -> Result<ServerConfig> {
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(EnvTime(env.clock.clone())))
        .with_protocol_versions(&[&TLS13])
        .map_err(failed)?
        .with_client_cert_verifier(Arc::new(AnyHolder(provider())))
        .with_single_cert(credentials.chain(), credentials.key())
        .map_err(failed)?;
    config.alpn_protocols = vec![HTTP.to_vec()];
    // Each connection proves anew who calls.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// TLS for calling the site of this authority.
pub(crate) fn client_config(authority: &Authority, own: &Credentials, env: &Env) -> Result<ClientConfig> {
    let verifier =
        WebPkiServerVerifier::builder_with_provider(roots(authority.certificate())?.into(), provider())
            .build()
            .map_err(|error| Error::invalid("the certificate of an authority is none").with_source(error))?;
    client(verifier, own, env)
}

/// TLS for calling a site of which only its authority's fingerprint is known yet.
pub(crate) fn pinned_client_config(
    fingerprint: Fingerprint,
    own: &Credentials,
    env: &Env,
) -> Result<ClientConfig> {
    client(Arc::new(Pinned { fingerprint, provider: provider() }), own, env)
}

fn client(verifier: Arc<dyn ServerCertVerifier>, own: &Credentials, env: &Env) -> Result<ClientConfig> {
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(EnvTime(env.clock.clone())))
        .with_protocol_versions(&[&TLS13])
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(own.chain(), own.key())
        .map_err(failed)?;
    config.alpn_protocols = vec![HTTP.to_vec()];
    config.resumption = tokio_rustls::rustls::client::Resumption::disabled();
    Ok(config)
}

fn failed(error: TlsError) -> Error {
    Error::new(ErrorKind::Failed, "setting up TLS").with_source(error)
}

/// The time by which certificates are judged.
struct EnvTime(Arc<dyn Clock>);

impl TimeProvider for EnvTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now()))
    }
}

impl fmt::Debug for EnvTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EnvTime")
    }
}

/// Lets in who holds the key of whatever certificate it shows. It trusts nobody: see [`server_config`].
#[derive(Debug)]
struct AnyHolder(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyHolder {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> std::result::Result<ClientCertVerified, TlsError> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Trusts the authority with this fingerprint, which the server shows behind its own certificate.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        let refused = || TlsError::InvalidCertificate(CertificateError::UnknownIssuer);
        let authority = intermediates
            .iter()
            .find(|&certificate| Fingerprint::of(certificate) == self.fingerprint)
            .ok_or_else(refused)?;
        let roots = roots(&authority.clone().into_owned()).map_err(|_| refused())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), self.provider.clone())
            .build()
            .map_err(|_| refused())?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
