//! Object Lock of S3: objects that nobody can delete or replace for a time.
//!
//! The requests that the object store client does not know are made here and signed by its authorizer. They are described
//! in the Amazon S3 API reference: GetObjectLockConfiguration, GetObjectRetention, PutObjectRetention.

mod checksum;
#[cfg(test)]
mod tests;
mod xml;

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use model::Timestamp;
use object_store::{
    ClientOptions, HeaderValue,
    aws::{AmazonS3ConfigKey, AwsAuthorizer, AwsCredentialProvider},
    client::{HttpClient, HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector},
    path::Path,
};
use url::Url;

use super::{
    Place, StoreLocation,
    cloud::{Bucket, Cloud, is_plain},
    variables::Variables,
};
use crate::{Error, ErrorKind, Result};
use xml::element;

/// Tries of one request.
const TRIES: u32 = 4;

/// The wait before the second try; doubled before each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The answers are a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The region that a bucket is taken to be in where nobody says, as the object store client does.
const DEFAULT_REGION: &str = "us-east-1";

/// Who can lift a retention before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// The Object Lock of a bucket.
#[derive(Debug)]
pub struct ObjectLock {
    requests: Requests,
    prefix: Path,
    default_mode: Option<RetentionMode>,
    mode: RetentionMode,
}

impl ObjectLock {
    /// The Object Lock of the place's bucket; none where the bucket has none or the place is no bucket of S3.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] without the permission `s3:GetBucketObjectLockConfiguration`, [`ErrorKind::NotFound`] when
    /// there is no such bucket.
    pub async fn of(location: &StoreLocation) -> Result<Option<Self>> {
        let Place::Bucket(bucket) = &location.place else { return Ok(None) };
        if bucket.cloud != Cloud::S3 {
            return Ok(None);
        }
        let requests = Requests::new(bucket, &location.variables)?;
        let answer = requests.send("GET", &Path::default(), "object-lock", None).await?;
        let text = match answer.status {
            200 => answer.text,
            // What servers say that know buckets without Object Lock, and servers that do not know Object Lock.
            404 if answer.code() == Some("ObjectLockConfigurationNotFoundError") => return Ok(None),
            400 | 501 if answer.code() == Some("NotImplemented") => return Ok(None),
            _ => return Err(answer.into_error(format!("the Object Lock of {location} cannot be read"))),
        };
        if element(&text, "ObjectLockEnabled") != Some("Enabled") {
            return Ok(None);
        }
        let default_mode = element(&text, "Mode").and_then(RetentionMode::parse);
        let mode = default_mode.unwrap_or(RetentionMode::Governance);
        Ok(Some(Self { requests, prefix: bucket.prefix()?, default_mode, mode }))
    }

    /// The mode in which the bucket locks every new object; none where it has no such rule.
    #[must_use]
    pub fn default_mode(&self) -> Option<RetentionMode> {
        self.default_mode
    }

    /// Extends retentions in this mode. Without it they are extended in the bucket's default mode, and in governance mode
    /// where it has none.
    #[must_use]
    pub fn with_mode(self, mode: RetentionMode) -> Self {
        Self { mode, ..self }
    }

    /// Keeps an object of the vault, named as in `docs/format.md`, from being deleted or replaced until this moment, to the
    /// second. A retention that is longer already stays as it is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such object, [`ErrorKind::Denied`] without the permission
    /// `s3:PutObjectRetention`.
    pub async fn extend(&self, path: &str, until: Timestamp) -> Result<()> {
        let path = self.path_of(path);
        // Full seconds, rounded up: not all servers read fractions.
        let seconds = until.as_microseconds().saturating_add(999_999).div_euclid(1_000_000);
        let until = Timestamp::from_microseconds(seconds.saturating_mul(1_000_000));
        let body = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode>\
             <RetainUntilDate>{until}</RetainUntilDate></Retention>",
            self.mode.as_str()
        );
        let answer = self.requests.send("PUT", &path, "retention", Some(body)).await?;
        match answer.status {
            200 | 204 => Ok(()),
            // To shorten a retention is forbidden.
            403 if self.read_retention(&path).await?.is_some_and(|retained| retained >= until) => Ok(()),
            _ => Err(answer.into_error(format!("the retention of {path} cannot be extended"))),
        }
    }

    /// Until when an object of the vault is kept; none where it is not.
    ///
    /// # Errors
    /// As [`ObjectLock::extend`].
    pub async fn retained_until(&self, path: &str) -> Result<Option<Timestamp>> {
        self.read_retention(&self.path_of(path)).await
    }

    async fn read_retention(&self, path: &Path) -> Result<Option<Timestamp>> {
        let answer = self.requests.send("GET", path, "retention", None).await?;
        match answer.status {
            200 => match element(&answer.text, "RetainUntilDate").map(str::parse) {
                Some(Ok(until)) => Ok(Some(until)),
                // A server that does not know the request answers with the object itself.
                _ => Err(Error::invalid(format!("the server does not tell the retention of {path}"))),
            },
            404 if answer.code() == Some("NoSuchObjectLockConfiguration") => Ok(None),
            _ => Err(answer.into_error(format!("the retention of {path} cannot be read"))),
        }
    }

    fn path_of(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |folder, part| folder.join(part))
    }
}

/// Signed requests to one bucket.
#[derive(Debug)]
struct Requests {
    client: HttpClient,
    credentials: AwsCredentialProvider,
    region: String,
    bucket_url: Url,
}

struct Answer {
    status: u16,
    text: String,
}

impl Requests {
    fn new(bucket: &Bucket, variables: &Variables) -> Result<Self> {
        let builder = bucket.s3(variables);
        let setting = |key| builder.get_config_value(&key);
        let region = setting(AmazonS3ConfigKey::Region).unwrap_or_else(|| DEFAULT_REGION.into());
        let endpoint = setting(AmazonS3ConfigKey::S3Endpoint)
            .or_else(|| setting(AmazonS3ConfigKey::Endpoint))
            .unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let has_bucket = setting(AmazonS3ConfigKey::VirtualHostedStyleRequest).as_deref() == Some("true");
        let endpoint = endpoint.trim_end_matches('/');
        let url = if has_bucket { endpoint.to_owned() } else { format!("{endpoint}/{}", bucket.host()) };
        let bucket_url = Url::parse(&url)
            .map_err(|source| Error::invalid(format!("{endpoint} is no endpoint")).with_source(source))?;
        let options = ClientOptions::new().with_allow_http(is_plain(endpoint));
        let client =
            ReqwestConnector::default().connect(&options).map_err(|source| bucket.misconfigured(source))?;
        let store = builder.build().map_err(|source| bucket.misconfigured(source))?;
        Ok(Self { client, credentials: store.credentials().clone(), region, bucket_url })
    }

    /// Sends a request about an object, or about the bucket where the path is empty. Tries again while the server is at
    /// fault.
    async fn send(&self, method: &str, path: &Path, query: &str, body: Option<String>) -> Result<Answer> {
        let mut wait = FIRST_WAIT;
        let mut tries_left = TRIES;
        loop {
            tries_left -= 1;
            match self.send_once(method, path, query, body.clone()).await {
                Ok(answer) if answer.status < 500 || answer.status == 501 || tries_left == 0 => {
                    return Ok(answer);
                }
                Err(error) if !error.is_retryable() || tries_left == 0 => return Err(error),
                _ => {}
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    async fn send_once(
        &self,
        method: &str,
        path: &Path,
        query: &str,
        body: Option<String>,
    ) -> Result<Answer> {
        let unreachable =
            || Error::new(ErrorKind::Unreachable, format!("{} cannot be reached", self.bucket_url));
        let mut url = self.bucket_url.clone();
        if !path.is_root() {
            url.set_path(&format!(
                "{}/{}",
                url.path().trim_end_matches('/'),
                xml::escaped_path(path.as_ref())
            ));
        }
        // The empty value is part of what is signed.
        url.set_query(Some(&format!("{query}=")));
        let body = Bytes::from(body.unwrap_or_default());
        let checksum = checksum::sha256(&body);
        let is_empty = body.is_empty();
        let mut request = HttpRequest::new(HttpRequestBody::from(body));
        *request.method_mut() = method.parse().map_err(|source| unreachable().with_source(source))?;
        *request.uri_mut() = url.as_str().parse().map_err(|source| unreachable().with_source(source))?;
        if !is_empty {
            let value =
                HeaderValue::from_str(&checksum).map_err(|source| unreachable().with_source(source))?;
            request.headers_mut().insert("x-amz-checksum-sha256", value);
        }
        let credential = self.credentials.get_credential().await.map_err(|source| {
            crate::store::error("there are no credentials for Object Lock".into(), source)
        })?;
        AwsAuthorizer::new(&credential, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|source| crate::store::error("a request cannot be signed".into(), source))?;
        let response =
            self.client.execute(request).await.map_err(|source| unreachable().with_source(source))?;
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        let mut parts = response.into_body().bytes_stream();
        while let Some(part) = parts.try_next().await.map_err(|source| unreachable().with_source(source))? {
            bytes.extend_from_slice(&part);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(Error::corrupt(format!(
                    "{} answers with more than any answer has",
                    self.bucket_url
                )));
            }
        }
        Ok(Answer { status, text: String::from_utf8_lossy(&bytes).into_owned() })
    }
}

impl Answer {
    /// The word by which S3 names an error.
    fn code(&self) -> Option<&str> {
        element(&self.text, "Code")
    }

    fn into_error(self, context: String) -> Error {
        let code = self.code().unwrap_or_default();
        let context = format!("{context}: status {} {code}", self.status);
        match self.status {
            404 => Error::new(ErrorKind::NotFound, context),
            401 | 403 => Error::new(ErrorKind::Denied, context).with_guidance(
                "allow s3:GetBucketObjectLockConfiguration, s3:GetObjectRetention and s3:PutObjectRetention",
            ),
            500.. => Error::new(ErrorKind::Unreachable, context),
            _ => Error::invalid(context),
        }
    }
}
