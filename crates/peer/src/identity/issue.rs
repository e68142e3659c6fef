//! Making an authority, and issuing certificates with it.

use model::{SiteId, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::Credentials;
use crate::{Error, ErrorKind, Result, hex, tls};

/// How long a certificate is valid.
const VALIDITY_DAYS: u32 = 365;

/// How far the other's clock may be behind.
const BACKDATED_DAYS: u32 = 30;

/// What makes a site that site.
#[derive(Serialize, Deserialize)]
pub(super) struct SiteFile {
    pub(super) id: SiteId,
    #[serde(with = "hex")]
    pub(super) authority_certificate: Vec<u8>,
    #[serde(with = "hex")]
    authority_key: Zeroizing<Vec<u8>>,
}

impl SiteFile {
    /// A new site.
    pub(super) fn make(id: SiteId) -> Result<Self> {
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = authority_parameters(id).self_signed(&key).map_err(failed)?;
        Ok(Self {
            id,
            authority_certificate: certificate.der().to_vec(),
            authority_key: Zeroizing::new(key.serialize_der()),
        })
    }
}

/// What issues the site's certificates.
pub(super) struct Issuer {
    id: SiteId,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

impl Issuer {
    pub(super) fn new(site: &SiteFile) -> Result<Self> {
        let key = KeyPair::try_from(&site.authority_key[..]).map_err(|error| {
            Error::new(ErrorKind::Damaged, "the key of the site's authority is none").with_source(error)
        })?;
        Ok(Self { id: site.id, issuer: rcgen::Issuer::new(authority_parameters(site.id), key) })
    }

    /// A certificate for the site to listen and to call with, under a key of its own.
    pub(super) fn issue(&self, authority: &CertificateDer<'_>, now: Timestamp) -> Result<Credentials> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut parameters = CertificateParams::new(vec![tls::server_name(self.id)]).map_err(failed)?;
        let (valid_from, expires_at) =
            (midnight(now.minus_days(BACKDATED_DAYS)), midnight(now.plus_days(VALIDITY_DAYS)));
        parameters.not_before = calendar(valid_from);
        parameters.not_after = calendar(expires_at);
        parameters.distinguished_name.push(DnType::CommonName, format!("Holdfast site {}", self.id));
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        parameters.use_authority_key_identifier_extension = true;
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Credentials {
            certificate: certificate.der().to_vec(),
            authority: authority.to_vec(),
            key: Zeroizing::new(key.serialize_der()),
            valid_from,
            expires_at,
        })
    }
}

/// The same each time: the issuer's name and key id follow from it. An authority does not expire (RFC 5280, 4.1.2.5), as a
/// pairing does not; it ends when one side ends it.
fn authority_parameters(id: SiteId) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(9999, 12, 31);
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, format!("Holdfast site {id} authority"));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    parameters
}

/// The beginning of the moment's day in UTC.
fn midnight(moment: Timestamp) -> Timestamp {
    const DAY_US: i64 = 86_400_000_000;
    Timestamp::from_microseconds(moment.as_microseconds().div_euclid(DAY_US) * DAY_US)
}

fn calendar(moment: Timestamp) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(moment.as_microseconds() / 1_000_000)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

fn failed(error: rcgen::Error) -> Error {
    Error::new(ErrorKind::Failed, "making a certificate").with_source(error)
}
