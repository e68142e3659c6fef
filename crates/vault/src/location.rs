//! Where a vault is.

use std::{fmt, fs, io, path::PathBuf, sync::Arc};

use object_store::{
    ObjectStore, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder, local::LocalFileSystem, path::Path,
};
use url::Url;

use crate::{Error, ErrorKind, Result};

/// Where a vault is: a directory, or a prefix in a bucket or container.
///
/// `file:///srv/vault` (or an absolute path), `s3://bucket/prefix?endpoint=…&region=…`,
/// `az://account/container/prefix?endpoint=…`. Credentials come from the environment by the cloud's own names, never from
/// the URL.
#[derive(Debug, Clone)]
pub struct StoreLocation(Place);

#[derive(Debug, Clone)]
enum Place {
    Directory(PathBuf),
    S3(Remote),
    Azure(Remote),
    AtHand(Arc<dyn ObjectStore>),
}

#[derive(Debug, Clone)]
struct Remote {
    url: Url,
    endpoint: Option<String>,
    region: Option<String>,
}

impl StoreLocation {
    /// Reads a URL or an absolute path.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with what is wrong and how to write it.
    pub fn parse(text: &str) -> Result<Self> {
        if text.starts_with('/') {
            return Ok(Self(Place::Directory(text.into())));
        }
        let error = |why: &str| {
            Error::invalid(format!("{text:?} is no place for a vault: {why}"))
                .with_guidance("write file:///directory, s3://bucket/prefix or az://account/container/prefix")
        };
        let url = Url::parse(text).map_err(|_| error("it is not a URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(error("credentials do not belong into a URL; set them in the environment"));
        }
        if url.scheme() == "file" {
            let directory =
                url.to_file_path().map_err(|()| error("it names no directory of this machine"))?;
            return if url.query().is_none() {
                Ok(Self(Place::Directory(directory)))
            } else {
                Err(error("a directory has no options"))
            };
        }
        let (mut endpoint, mut region) = (None, None);
        for (name, value) in url.query_pairs() {
            match &*name {
                "endpoint" => endpoint = Some(value.into_owned()),
                "region" => region = Some(value.into_owned()),
                _ => return Err(error(&format!("there is no option {name:?}, only endpoint and region"))),
            }
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(error("the bucket or account is missing"));
        }
        match url.scheme() {
            "s3" => Ok(Self(Place::S3(Remote { url, endpoint, region }))),
            "az" if url.path().len() > 1 => Ok(Self(Place::Azure(Remote { url, endpoint, region }))),
            "az" => Err(error("the container is missing")),
            scheme => Err(error(&format!("{scheme}: is not supported"))),
        }
    }

    /// A store that is open already, such as one in memory.
    #[must_use]
    pub fn at_hand(store: Arc<dyn ObjectStore>) -> Self {
        Self(Place::AtHand(store))
    }

    /// Whether the place has a fixed size: then it can be full, and deleting needs room.
    pub(crate) fn has_fixed_room(&self) -> bool {
        matches!(self.0, Place::Directory(_))
    }

    /// Makes the place where it is a directory that does not exist, then opens it.
    pub(crate) async fn create(&self) -> Result<(Arc<dyn ObjectStore>, Path)> {
        if let Place::Directory(directory) = &self.0 {
            let wanted = directory.clone();
            let made = tokio::task::spawn_blocking(move || create_durably(&wanted)).await?;
            made.map_err(|source| crate::store::io_error(format!("{self} cannot be created"), source))?;
        }
        self.open().await
    }

    /// Opens the place: the store, and the prefix in it.
    pub(crate) async fn open(&self) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let setting =
            |source| Error::invalid(format!("{self} cannot be used as it is set up")).with_source(source);
        match &self.0 {
            Place::Directory(directory) => {
                let metadata = tokio::fs::metadata(directory).await;
                match metadata {
                    Ok(metadata) if metadata.is_dir() => {}
                    Ok(_) => {
                        return Err(Error::new(ErrorKind::NotFound, format!("{self} is not a directory")));
                    }
                    Err(source) => {
                        return Err(crate::store::io_error(format!("{self} cannot be opened"), source));
                    }
                }
                let store = LocalFileSystem::new_with_prefix(directory).map_err(setting)?;
                Ok((Arc::new(store.with_fsync(true)), Path::default()))
            }
            Place::S3(Remote { url, endpoint, region }) => {
                let mut builder =
                    AmazonS3Builder::from_env().with_bucket_name(url.host_str().unwrap_or_default());
                if let Some(endpoint) = endpoint {
                    builder =
                        builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
                }
                if let Some(region) = region {
                    builder = builder.with_region(region);
                }
                Ok((Arc::new(builder.build().map_err(setting)?), self.prefix(url.path())?))
            }
            Place::Azure(Remote { url, endpoint, .. }) => {
                let path = url.path().trim_start_matches('/');
                let (container, prefix) = path.split_once('/').unwrap_or((path, ""));
                let mut builder = MicrosoftAzureBuilder::from_env()
                    .with_account(url.host_str().unwrap_or_default())
                    .with_container_name(container);
                if let Some(endpoint) = endpoint {
                    builder = builder
                        .with_endpoint(endpoint.clone())
                        .with_allow_http(endpoint.starts_with("http://"));
                }
                Ok((Arc::new(builder.build().map_err(setting)?), self.prefix(prefix)?))
            }
            Place::AtHand(store) => Ok((Arc::clone(store), Path::default())),
        }
    }

    fn prefix(&self, path: &str) -> Result<Path> {
        Path::from_url_path(path)
            .map_err(|source| Error::invalid(format!("{self} has a bad prefix")).with_source(source))
    }
}

/// Creates a directory and what is missing above it. All of them survive a power cut: a directory lasts once the one above
/// it is flushed.
fn create_durably(directory: &std::path::Path) -> io::Result<()> {
    let missing: Vec<_> = directory.ancestors().take_while(|directory| !directory.exists()).collect();
    for directory in missing.into_iter().rev() {
        match fs::create_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
            created => created?,
        }
        if let Some(parent) = directory.parent() {
            fs::File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Directory(directory) => directory.display().fmt(formatter),
            Place::S3(Remote { url, .. }) | Place::Azure(Remote { url, .. }) => url.fmt(formatter),
            Place::AtHand(store) => store.fmt(formatter),
        }
    }
}
