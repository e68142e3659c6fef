//! Where a vault is.

mod cloud;
pub(crate) mod directory;
pub(crate) mod object_lock;
mod requests;
mod sftp;
#[cfg(test)]
mod tests;
mod variables;
pub(crate) mod versions;

use std::{fmt, path::PathBuf, sync::Arc};

use object_store::{ObjectStore, path::Path};
use url::Url;

use crate::{Error, Result};
use cloud::{Bucket, Cloud};
use sftp::{SftpAddress, SftpStore};
use variables::Variables;

/// Where a vault is: a directory, here or on an SFTP server, or a prefix in a bucket or container.
///
/// `file:///srv/vault` (or an absolute path), `sftp://user@host:port/srv/vault`, `s3://bucket/prefix?endpoint=…&region=…`,
/// `az://account/container/prefix?endpoint=…`, `gs://bucket/prefix?endpoint=…`. Credentials never come from the URL: those
/// of a cloud come from the environment by the cloud's own names, keys for SFTP from the SSH agent (`SSH_AUTH_SOCK`), from
/// `~/.ssh`, or from the file that `HOLDFAST_SFTP_KEY` names.
#[derive(Debug, Clone)]
pub struct StoreLocation {
    place: Place,
    variables: Variables,
}

#[derive(Debug, Clone)]
enum Place {
    Directory(PathBuf),
    Sftp(SftpAddress),
    Bucket(Bucket),
    AtHand(Arc<dyn ObjectStore>),
}

/// A store that can be used, and where in it the vault is.
pub(crate) struct OpenLocation {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) prefix: Path,
    /// The directory of this host that holds the objects, where there is one.
    pub(crate) directory: Option<PathBuf>,
}

const FORMS: &str = "write file:///directory, sftp://user@host/directory, s3://bucket/prefix, gs://bucket/prefix or \
                     az://account/container/prefix";

impl StoreLocation {
    /// Reads a URL or an absolute path.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with what is wrong and how to write it.
    pub fn parse(text: &str) -> Result<Self> {
        let place = Self::parse_place(text).map_err(|why| {
            Error::invalid(format!("{} is no place for a vault: {why}", without_password(text)))
                .with_guidance(FORMS)
        })?;
        Ok(Self { place, variables: Variables::of_process() })
    }

    fn parse_place(text: &str) -> std::result::Result<Place, String> {
        if text.starts_with('/') {
            return Ok(Place::Directory(text.into()));
        }
        let url = Url::parse(text).map_err(|_| "it is not a URL")?;
        let has_user = !url.username().is_empty() && url.scheme() != "sftp";
        if has_user || url.password().is_some() {
            return Err("credentials do not belong into a URL; set them in the environment".into());
        }
        match url.scheme() {
            "file" if url.query().is_some() => Err("a directory has no options".into()),
            "file" => {
                let directory = url.to_file_path().map_err(|()| "it names no directory of this machine")?;
                Ok(Place::Directory(directory))
            }
            "sftp" => SftpAddress::of_url(&url).map(Place::Sftp),
            "s3" => Bucket::of_url(Cloud::S3, url).map(Place::Bucket),
            "az" => Bucket::of_url(Cloud::Azure, url).map(Place::Bucket),
            "gs" => Bucket::of_url(Cloud::Google, url).map(Place::Bucket),
            scheme => Err(format!("{scheme}: is not supported")),
        }
    }

    /// A store that is open already, such as one in memory.
    #[must_use]
    pub fn at_hand(store: Arc<dyn ObjectStore>) -> Self {
        Self { place: Place::AtHand(store), variables: Variables::of_process() }
    }

    /// The same place, with credentials from these variables in place of the process's environment.
    #[must_use]
    pub fn with_variables<K, V>(self, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<String>,
        V: Into<String>,
    {
        Self { variables: variables.into_iter().collect(), ..self }
    }

    /// The store itself, and the prefix of the vault's objects in it: for tools that look after a store.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) where there is no such directory,
    /// [`ErrorKind::Denied`](crate::ErrorKind::Denied) without credentials,
    /// [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable) when an SFTP server does not answer.
    pub async fn object_store(&self) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let open = self.open().await?;
        Ok((open.store, open.prefix))
    }

    /// Whether the place is a bucket of S3.
    pub(crate) fn is_s3(&self) -> bool {
        matches!(&self.place, Place::Bucket(bucket) if bucket.cloud == Cloud::S3)
    }

    /// Whether the place has a fixed size: then it can be full, and deleting needs room.
    pub(crate) fn has_fixed_room(&self) -> bool {
        matches!(self.place, Place::Directory(_) | Place::Sftp(_))
    }

    /// Makes the place where it is a directory that does not exist, then opens it.
    pub(crate) async fn create(&self) -> Result<OpenLocation> {
        match &self.place {
            Place::Directory(directory) => directory::create(directory).await?,
            Place::Sftp(address) => {
                let store = SftpStore::create(address, &self.variables).await?;
                return Ok(OpenLocation::of(Arc::new(store), Path::default()));
            }
            Place::Bucket(_) | Place::AtHand(_) => {}
        }
        self.open().await
    }

    /// Opens the place: the store, and the prefix in it.
    pub(crate) async fn open(&self) -> Result<OpenLocation> {
        match &self.place {
            Place::Directory(directory) => {
                let store = directory::open(directory).await?;
                Ok(OpenLocation {
                    directory: Some(directory.clone()),
                    ..OpenLocation::of(store, Path::default())
                })
            }
            Place::Sftp(address) => {
                let store = SftpStore::open(address, &self.variables).await?;
                Ok(OpenLocation::of(Arc::new(store), Path::default()))
            }
            Place::Bucket(bucket) => {
                Ok(OpenLocation::of(bucket.open(&self.variables).await?, bucket.prefix()?))
            }
            Place::AtHand(store) => Ok(OpenLocation::of(Arc::clone(store), Path::default())),
        }
    }
}

impl OpenLocation {
    fn of(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { store, prefix, directory: None }
    }
}

/// The path of an object, named as in `docs/format.md`, of the vault with this prefix.
fn path_in(prefix: &Path, name: &str) -> Path {
    name.split('/').fold(prefix.clone(), |folder, part| folder.join(part))
}

/// The text as it may be shown.
fn without_password(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.password().is_some() => {
            let hidden = url.set_password(Some("…")).is_ok();
            if hidden { format!("\"{url}\"") } else { "this URL".into() }
        }
        _ => format!("{text:?}"),
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Directory(directory) => directory.display().fmt(formatter),
            Place::Sftp(address) => address.fmt(formatter),
            Place::Bucket(bucket) => bucket.fmt(formatter),
            Place::AtHand(store) => store.fmt(formatter),
        }
    }
}
