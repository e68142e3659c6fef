//! Who a site is: an authority made when it first starts, and the certificate that the authority issues it, time and again.
//!
//! Two files, readable by the owner only. `site.json` holds the id and the authority's key and is written once; whoever has
//! it is the site. `certificate.json` holds the certificate in use and can be made anew from it at any time.

mod authority;
mod credentials;
pub(crate) mod file;
mod issue;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use env::Env;
use model::{SiteId, Timestamp};
use tokio_rustls::rustls::pki_types::CertificateDer;

pub(crate) use self::authority::{roots, unix_time};
pub use self::{authority::Authority, credentials::Credentials};
use crate::{Fingerprint, Result};

/// A certificate is renewed when less than this is left of its year.
const RENEWAL_DAYS: u32 = 120;

/// A site's identity, open.
pub struct SiteIdentity {
    id: SiteId,
    issuer: issue::Issuer,
    authority: CertificateDer<'static>,
    certificate_file: PathBuf,
    credentials: RwLock<Arc<Credentials>>,
    env: Env,
}

impl SiteIdentity {
    /// Opens the identity in this directory, which exists, and makes one where there is none. The certificate is renewed where
    /// that is due. Durable when this returns.
    ///
    /// # Errors
    /// When a file cannot be read or written, or is not what this writes.
    pub fn open(directory: &Path, env: &Env) -> Result<Self> {
        let site_file = directory.join("site.json");
        let site = match file::read::<issue::SiteFile>(&site_file)? {
            Some(site) => site,
            None => {
                let site = issue::SiteFile::make(SiteId::from_random(env::random(&*env.entropy)))?;
                file::write(&site_file, &site)?;
                site
            }
        };
        let (id, authority) = (site.id, CertificateDer::from(site.authority_certificate.clone()));
        let issuer = issue::Issuer::new(&site)?;
        let certificate_file = directory.join("certificate.json");
        let now = env.clock.now();
        let kept = match file::read::<Credentials>(&certificate_file) {
            Ok(kept) => kept.filter(|kept| kept.is_of(&authority, now) && !is_due(kept, now)),
            Err(error) => {
                tracing::warn!(%error, "the site's certificate cannot be read; a new one takes its place");
                None
            }
        };
        let credentials = match kept {
            Some(kept) => kept,
            None => issue(&issuer, &authority, &certificate_file, now)?,
        };
        Ok(Self {
            id,
            issuer,
            authority,
            certificate_file,
            credentials: RwLock::new(Arc::new(credentials)),
            env: env.clone(),
        })
    }

    /// The site's id.
    #[must_use]
    pub fn id(&self) -> SiteId {
        self.id
    }

    /// The certificate of the site's authority, in DER: what peers must know.
    #[must_use]
    pub fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    /// The fingerprint of the site's authority.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.authority)
    }

    /// The certificate in use, and its key.
    #[must_use]
    pub fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.credentials.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Renews the certificate where that is due; whether it was. Peers need not be told: they know the authority.
    ///
    /// # Errors
    /// When the new one cannot be kept; the old one stays in use.
    pub fn renew_if_due(&self) -> Result<bool> {
        let now = self.env.clock.now();
        if !is_due(&self.credentials(), now) {
            return Ok(false);
        }
        let credentials = issue(&self.issuer, &self.authority, &self.certificate_file, now)?;
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
        Ok(true)
    }

    pub(crate) fn env(&self) -> &Env {
        &self.env
    }
}

impl std::fmt::Debug for SiteIdentity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SiteIdentity").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Also when the clock was ahead at the time of issue, so that it is not valid yet.
fn is_due(credentials: &Credentials, now: Timestamp) -> bool {
    credentials.valid_from > now || credentials.expires_at < now.plus_days(RENEWAL_DAYS)
}

fn issue(
    issuer: &issue::Issuer,
    authority: &CertificateDer<'_>,
    certificate_file: &Path,
    now: Timestamp,
) -> Result<Credentials> {
    let credentials = issuer.issue(authority, now)?;
    file::write(certificate_file, &credentials)?;
    tracing::info!(expires_at = %credentials.expires_at, "the site has a new certificate");
    Ok(credentials)
}
