//! Object Lock of S3: objects that nobody can delete or replace for a time.
//!
//! The requests are described in the Amazon S3 API reference: GetObjectLockConfiguration, HeadObject, PutObjectRetention.

use model::Timestamp;
use object_store::path::Path;

use super::{
    Place, StoreLocation,
    cloud::Cloud,
    requests::{ANSWER_BYTES_MAX, Request, Requests, xml::element},
};
use crate::{Error, Result};

const PERMISSIONS: &str =
    "s3:GetBucketObjectLockConfiguration, s3:GetObjectRetention and s3:PutObjectRetention";

/// Who can lift a retention before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetentionMode {
    /// Those who have the permission `s3:BypassGovernanceRetention`.
    Governance,
    /// Nobody, not even the account's owner.
    Compliance,
}

impl RetentionMode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Governance, Self::Compliance].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// How the store keeps an object, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Who can end it.
    pub mode: RetentionMode,
    /// When it ends, by the store's clock.
    pub until: Timestamp,
}

/// The Object Lock of a bucket.
#[derive(Debug)]
pub struct ObjectLock {
    requests: Requests,
    prefix: Path,
    default_mode: Option<RetentionMode>,
}

impl ObjectLock {
    /// The Object Lock of the place's bucket; none where the bucket has none or the place is no bucket of S3.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`](crate::ErrorKind::Denied) without the permission `s3:GetBucketObjectLockConfiguration`,
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when there is no such bucket.
    pub async fn of(location: &StoreLocation) -> Result<Option<Self>> {
        let Place::Bucket(bucket) = &location.place else { return Ok(None) };
        if bucket.cloud != Cloud::S3 {
            return Ok(None);
        }
        let requests = Requests::new(bucket, &location.variables)?;
        let request = Request { method: "GET", query: &[("object-lock", "")], ..Request::default() };
        let answer = requests.send(&request, ANSWER_BYTES_MAX).await?;
        match (answer.status, answer.code().as_deref()) {
            (200, _) => {}
            // What servers say that know buckets without Object Lock, and servers that do not know Object Lock.
            (404, Some("ObjectLockConfigurationNotFoundError")) => return Ok(None),
            (400 | 501, Some("NotImplemented")) => return Ok(None),
            _ => {
                let context = format!("the Object Lock of {location} cannot be read");
                return Err(answer.into_error(context, PERMISSIONS));
            }
        }
        let text = answer.text();
        if element(&text, "ObjectLockEnabled") != Some("Enabled") {
            return Ok(None);
        }
        let default_mode = element(&text, "Mode").and_then(RetentionMode::parse);
        Ok(Some(Self { requests, prefix: bucket.prefix()?, default_mode }))
    }

    /// The mode in which the bucket locks every new object; none where it has no such rule.
    #[must_use]
    pub fn default_mode(&self) -> Option<RetentionMode> {
        self.default_mode
    }

    /// Keeps an object of the vault, named as in `docs/format.md`, from being deleted or replaced until the end of a retention,
    /// to the second. One that is longer already stays as it is, and so does the mode of one that the store does not let
    /// us change. Returns how the object is retained then.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when there is no such object,
    /// [`ErrorKind::Denied`](crate::ErrorKind::Denied) without the permission `s3:PutObjectRetention`.
    pub async fn extend(&self, name: &str, wanted: Retention) -> Result<Retention> {
        let path = super::path_in(&self.prefix, name);
        // Full seconds, rounded up: not all servers read fractions.
        let seconds = wanted.until.as_microseconds().saturating_add(999_999).div_euclid(1_000_000);
        let until = Timestamp::from_microseconds(seconds.saturating_mul(1_000_000));
        let wanted = Retention { until, ..wanted };
        let refusal = match self.put_retention(&path, wanted).await {
            Err(error) if error.kind() == crate::ErrorKind::Denied => error,
            put => return put.map(|()| wanted),
        };
        // To shorten a retention is forbidden, and to change the mode of one.
        match self.read_retention(&path).await? {
            Some(found) if found.until >= until => Ok(found),
            Some(found) if found.mode != wanted.mode => {
                let wanted = Retention { mode: found.mode, ..wanted };
                self.put_retention(&path, wanted).await.map(|()| wanted)
            }
            _ => Err(refusal),
        }
    }

    /// How an object of the vault is retained; none where it is not.
    ///
    /// # Errors
    /// As [`ObjectLock::extend`].
    pub async fn retention_of(&self, name: &str) -> Result<Option<Retention>> {
        self.read_retention(&super::path_in(&self.prefix, name)).await
    }

    async fn put_retention(&self, path: &Path, Retention { mode, until }: Retention) -> Result<()> {
        let body = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode>\
             <RetainUntilDate>{until}</RetainUntilDate></Retention>",
            mode.as_str()
        );
        let query = &[("retention", "")];
        let request = Request { method: "PUT", path: path.clone(), query, body: Some(body) };
        let answer = self.requests.send(&request, ANSWER_BYTES_MAX).await?;
        match answer.status {
            200 | 204 => Ok(()),
            // The newest version is a delete marker.
            405 => Err(Error::new(crate::ErrorKind::NotFound, format!("{path} was deleted"))),
            _ => Err(answer.into_error(format!("the retention of {path} cannot be extended"), PERMISSIONS)),
        }
    }

    async fn read_retention(&self, path: &Path) -> Result<Option<Retention>> {
        let request = Request { method: "HEAD", path: path.clone(), ..Request::default() };
        let answer = self.requests.send(&request, ANSWER_BYTES_MAX).await?;
        if answer.status != 200 {
            return Err(answer.into_error(format!("the retention of {path} cannot be read"), PERMISSIONS));
        }
        let Some((mode, until)) = &answer.retention else { return Ok(None) };
        match (RetentionMode::parse(mode), until.parse()) {
            (Some(mode), Ok(until)) => Ok(Some(Retention { mode, until })),
            _ => {
                Err(Error::invalid(format!("the server tells no retention of {path} that can be understood")))
            }
        }
    }
}
