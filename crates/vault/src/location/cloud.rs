//! Buckets and containers of object storage services.

use std::{fmt, sync::Arc, time::Duration};

use object_store::{
    CredentialProvider, ObjectStore,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum},
    azure::MicrosoftAzureBuilder,
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    path::Path,
};
use url::Url;

use super::variables::Variables;
use crate::{Error, ErrorKind, Result};

/// What asking the metadata service of a cloud's own machine for credentials may take: it answers in milliseconds, and
/// elsewhere nobody does.
const CREDENTIALS_LIMIT: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cloud {
    S3,
    Azure,
    Google,
}

/// A prefix in a bucket or container.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    pub(crate) cloud: Cloud,
    url: Url,
    endpoint: Option<String>,
    region: Option<String>,
}

impl Cloud {
    /// What to do when there are no credentials.
    fn credentials_guidance(self) -> &'static str {
        match self {
            Self::S3 => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with AWS_SESSION_TOKEN if the keys are temporary, or \
                 run on a machine that has an IAM role; profiles of ~/.aws are not read"
            }
            Self::Azure => {
                "set AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_SAS_KEY, or AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and \
                 AZURE_TENANT_ID, or run on a machine that has a managed identity"
            }
            Self::Google => {
                "set GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS to the path of a key file, or run on a \
                 machine that has a service account"
            }
        }
    }
}

impl Bucket {
    pub(super) fn of_url(cloud: Cloud, url: Url) -> std::result::Result<Self, String> {
        let (mut endpoint, mut region) = (None, None);
        for (name, value) in url.query_pairs() {
            match &*name {
                "endpoint" => endpoint = Some(value.into_owned()),
                "region" if cloud == Cloud::S3 => region = Some(value.into_owned()),
                _ if cloud == Cloud::S3 => {
                    return Err(format!("there is no option {name:?}, only endpoint and region"));
                }
                _ => return Err(format!("there is no option {name:?}, only endpoint")),
            }
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("the bucket or account is missing".into());
        }
        if cloud == Cloud::Azure && url.path().len() <= 1 {
            return Err("the container is missing".into());
        }
        Ok(Self { cloud, url, endpoint, region })
    }

    /// The bucket, or the account where buckets are called containers.
    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The vault's prefix in the bucket.
    pub(super) fn prefix(&self) -> Result<Path> {
        let path = match self.cloud {
            Cloud::S3 | Cloud::Google => self.url.path(),
            Cloud::Azure => self.container_and_prefix().1,
        };
        Path::from_url_path(path)
            .map_err(|source| Error::invalid(format!("{self} has a bad prefix")).with_source(source))
    }

    /// The bucket as a store, for which there are credentials.
    pub(super) async fn open(&self, variables: &Variables) -> Result<Arc<dyn ObjectStore>> {
        match self.cloud {
            Cloud::S3 => {
                let builder = self.s3(variables);
                let is_signed = !is_set(builder.get_config_value(&AmazonS3ConfigKey::SkipSignature));
                let store = builder.build().map_err(|source| self.misconfigured(source))?;
                if is_signed {
                    self.obtain_credentials(&**store.credentials()).await?;
                }
                Ok(Arc::new(store))
            }
            Cloud::Azure => {
                let store = self.azure(variables).build().map_err(|source| self.misconfigured(source))?;
                self.obtain_credentials(&**store.credentials()).await?;
                Ok(Arc::new(store))
            }
            Cloud::Google => {
                let builder = self.google(variables);
                let is_signed = !is_set(builder.get_config_value(&GoogleConfigKey::SkipSignature));
                let store = builder.build().map_err(|source| self.misconfigured(source))?;
                if is_signed {
                    self.obtain_credentials(&**store.credentials()).await?;
                }
                Ok(Arc::new(store))
            }
        }
    }

    pub(super) fn s3(&self, variables: &Variables) -> AmazonS3Builder {
        let mut builder = AmazonS3Builder::new();
        for (name, value) in variables.settings("AWS_") {
            if let Ok(key) = name.parse() {
                builder = builder.with_config(key, value);
            }
        }
        builder = builder.with_bucket_name(self.host());
        // Buckets with Object Lock take nothing without a checksum, and the signature needs the same one anyway.
        if builder.get_config_value(&AmazonS3ConfigKey::Checksum).is_none() {
            builder = builder.with_checksum_algorithm(Checksum::SHA256);
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder
                .with_config(AmazonS3ConfigKey::S3Endpoint, endpoint)
                .with_allow_http(is_plain(endpoint));
        }
        match &self.region {
            Some(region) => builder.with_region(region),
            None => builder,
        }
    }

    fn azure(&self, variables: &Variables) -> MicrosoftAzureBuilder {
        let mut builder = MicrosoftAzureBuilder::new();
        for (name, value) in variables.settings("AZURE_") {
            if let Ok(key) = name.parse() {
                builder = builder.with_config(key, value);
            }
        }
        if let Some(endpoint) = variables.get("IDENTITY_ENDPOINT") {
            builder = builder.with_msi_endpoint(endpoint);
        }
        builder = builder.with_account(self.host()).with_container_name(self.container_and_prefix().0);
        match &self.endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint.clone()).with_allow_http(is_plain(endpoint)),
            None => builder,
        }
    }

    fn google(&self, variables: &Variables) -> GoogleCloudStorageBuilder {
        let mut builder = GoogleCloudStorageBuilder::new();
        for (name, value) in variables.settings("GOOGLE_") {
            if let Ok(key) = name.parse() {
                builder = builder.with_config(key, value);
            }
        }
        builder = builder.with_bucket_name(self.host());
        match &self.endpoint {
            Some(endpoint) => builder.with_config(GoogleConfigKey::BaseUrl, endpoint),
            None => builder,
        }
    }

    fn container_and_prefix(&self) -> (&str, &str) {
        let path = self.url.path().trim_start_matches('/');
        path.split_once('/').unwrap_or((path, ""))
    }

    /// Finds out now whether there are credentials. Without this, each request would ask a metadata service for minutes
    /// and then blame the network.
    async fn obtain_credentials<T>(&self, provider: &dyn CredentialProvider<Credential = T>) -> Result<()>
    where
        T: fmt::Debug + Send + Sync,
    {
        let missing = || {
            Error::new(ErrorKind::Denied, format!("there are no credentials for {self}"))
                .with_guidance(self.cloud.credentials_guidance())
        };
        match tokio::time::timeout(CREDENTIALS_LIMIT, provider.get_credential()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(missing().with_source(source)),
            Err(elapsed) => Err(missing().with_source(elapsed)),
        }
    }

    pub(super) fn misconfigured(&self, source: object_store::Error) -> Error {
        Error::invalid(format!("{self} cannot be used as it is set up"))
            .with_source(source)
            .with_guidance(self.cloud.credentials_guidance())
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(formatter)
    }
}

pub(super) fn is_plain(endpoint: &str) -> bool {
    endpoint.starts_with("http://")
}

fn is_set(value: Option<String>) -> bool {
    value.is_some_and(|value| value == "true" || value == "1")
}
