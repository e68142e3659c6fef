//! Signed requests to one bucket of S3: those that the object store client does not know.

mod checksum;
#[cfg(test)]
mod tests;
pub(super) mod xml;

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{
    ClientOptions, HeaderValue,
    aws::{AmazonS3ConfigKey, AwsAuthorizer, AwsCredentialProvider},
    client::{HttpClient, HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector},
    path::Path,
};
use url::Url;

use super::{
    cloud::{Bucket, is_plain},
    variables::Variables,
};
use crate::{Error, ErrorKind, Result};
use xml::element;

/// Tries of one request.
const TRIES: u32 = 4;

/// The wait before the second try; doubled before each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// A page of a listing is a thousand names of a kilobyte and what is said of each; all other answers but objects are shorter.
pub(super) const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// The region that a bucket is taken to be in where nobody says, as the object store client does.
const DEFAULT_REGION: &str = "us-east-1";

/// What is asked of a bucket, or of an object where there is a path.
#[derive(Debug, Clone, Default)]
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    pub(super) path: Path,
    /// Names and values; many requests are told apart by a name with an empty value.
    pub(super) query: &'a [(&'static str, &'a str)],
    pub(super) body: Option<String>,
}

/// What a server answers.
pub(super) struct Answer {
    pub(super) status: u16,
    /// How an object is retained, and until when, as the heads of answers about objects say.
    pub(super) retention: Option<(String, String)>,
    pub(super) bytes: Bytes,
}

/// Signed requests to one bucket.
#[derive(Debug)]
pub(super) struct Requests {
    client: HttpClient,
    credentials: AwsCredentialProvider,
    region: String,
    bucket_url: Url,
}

impl Requests {
    pub(super) fn new(bucket: &Bucket, variables: &Variables) -> Result<Self> {
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

    /// Sends a request whose answer has at most `limit_bytes`. Tries again while the server is at fault.
    ///
    /// # Errors
    /// Only where there is no answer; one that refuses is an answer.
    pub(super) async fn send(&self, request: &Request<'_>, limit_bytes: u64) -> Result<Answer> {
        let mut wait = FIRST_WAIT;
        let mut tries_left = TRIES;
        loop {
            tries_left -= 1;
            match self.send_once(request, limit_bytes).await {
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

    async fn send_once(&self, request: &Request<'_>, limit_bytes: u64) -> Result<Answer> {
        let unreachable =
            || Error::new(ErrorKind::Unreachable, format!("{} cannot be reached", self.bucket_url));
        let body = Bytes::from(request.body.clone().unwrap_or_default());
        let checksum = checksum::sha256(&body);
        let is_empty = body.is_empty();
        let mut message = HttpRequest::new(HttpRequestBody::from(body));
        *message.method_mut() = request.method.parse().map_err(|source| unreachable().with_source(source))?;
        let url = self.url(request);
        *message.uri_mut() = url.as_str().parse().map_err(|source| unreachable().with_source(source))?;
        if !is_empty {
            let value =
                HeaderValue::from_str(&checksum).map_err(|source| unreachable().with_source(source))?;
            message.headers_mut().insert("x-amz-checksum-sha256", value);
        }
        let credential = self.credentials.get_credential().await.map_err(|source| {
            crate::store::error("there are no credentials for the bucket".into(), source)
        })?;
        AwsAuthorizer::new(&credential, "s3", &self.region)
            .try_authorize(&mut message, None)
            .map_err(|source| crate::store::error("a request cannot be signed".into(), source))?;
        let response =
            self.client.execute(message).await.map_err(|source| unreachable().with_source(source))?;
        let status = response.status().as_u16();
        let header = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let retention = header("x-amz-object-lock-mode").zip(header("x-amz-object-lock-retain-until-date"));
        let mut bytes = Vec::new();
        let mut parts = response.into_body().bytes_stream();
        while let Some(part) = parts.try_next().await.map_err(|source| unreachable().with_source(source))? {
            bytes.extend_from_slice(&part);
            if bytes.len() as u64 > limit_bytes.max(ANSWER_BYTES_MAX) {
                return Err(Error::corrupt(format!(
                    "{} answers with more than any answer has",
                    self.bucket_url
                )));
            }
        }
        Ok(Answer { status, retention, bytes: bytes.into() })
    }

    fn url(&self, request: &Request<'_>) -> Url {
        let mut url = self.bucket_url.clone();
        if !request.path.is_root() {
            let bucket = url.path().trim_end_matches('/').to_owned();
            url.set_path(&format!("{bucket}/{}", xml::escaped_path(request.path.as_ref())));
        }
        if !request.query.is_empty() {
            // An empty value is part of what is signed.
            let pairs = request.query.iter().map(|(name, value)| format!("{name}={}", xml::escaped(value)));
            url.set_query(Some(&pairs.collect::<Vec<_>>().join("&")));
        }
        url
    }
}

impl Answer {
    /// What it says, where it is no object.
    pub(super) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// The word by which S3 names an error.
    pub(super) fn code(&self) -> Option<String> {
        element(&self.text(), "Code").map(str::to_owned)
    }

    /// The error that it is, for who lacks one of these `permissions` where it is a refusal.
    pub(super) fn into_error(self, context: String, permissions: &str) -> Error {
        let code = self.code().unwrap_or_default();
        let context = format!("{context}: status {} {code}", self.status);
        match self.status {
            404 => Error::new(ErrorKind::NotFound, context),
            401 | 403 => Error::new(ErrorKind::Denied, context).with_guidance(format!("allow {permissions}")),
            // What a server does not know, it does not know later either.
            501 => Error::invalid(context),
            500.. => Error::new(ErrorKind::Unreachable, context),
            _ => Error::invalid(context),
        }
    }
}
