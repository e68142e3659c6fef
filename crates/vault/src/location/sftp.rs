//! A directory of an SSH server as an object store.
//!
//! `address` says where it is, `host_key` and `authentication` who is at either end, `session` is one connection,
//! `connection` keeps one alive, `files` turns objects into files.

mod address;
mod authentication;
mod connection;
mod files;
mod host_key;
mod session;
#[cfg(test)]
mod tests;

use std::{fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    FutureExt, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    Attributes, CopyOptions, Error as StoreError, Extensions, GetOptions, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result as StoreResult, path::Path,
};

use super::variables::Variables;
use crate::{Error, ErrorKind, Result};
pub(crate) use address::SftpAddress;
use connection::Connection;

/// The name of this kind of store in errors.
const STORE: &str = "SFTP";

/// A file is read in pieces of this size, each of them at once. Packs are not larger.
const PIECE_BYTES: u64 = 8 << 20;

/// A directory of an SSH server.
#[derive(Debug, Clone)]
pub(crate) struct SftpStore {
    connection: Arc<Connection>,
    /// The vault's directory, without a slash at its end.
    root: Arc<str>,
}

impl SftpStore {
    /// Opens the directory.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none.
    pub(crate) async fn open(address: &SftpAddress, variables: &Variables) -> Result<Self> {
        let store = Self::connect(address, variables).await?;
        let found = store.connection.run(store.path_of(&Path::default()), files::is_directory).await;
        match found {
            Ok(true) => Ok(store),
            Ok(false) | Err(StoreError::NotFound { .. }) => {
                Err(Error::new(ErrorKind::NotFound, format!("there is no directory {address}")))
            }
            Err(error) => Err(crate::store::error(format!("{address} cannot be opened"), error)),
        }
    }

    /// Opens the directory, which is made first where there is none.
    pub(crate) async fn create(address: &SftpAddress, variables: &Variables) -> Result<Self> {
        let store = Self::connect(address, variables).await?;
        let made = store.connection.run(store.path_of(&Path::default()), files::create_directories).await;
        made.map_err(|error| crate::store::error(format!("{address} cannot be created"), error))?;
        Self::open(address, variables).await
    }

    async fn connect(address: &SftpAddress, variables: &Variables) -> Result<Self> {
        let connection = Connection::open(address.clone(), variables.clone()).await?;
        let root = address.directory().trim_end_matches('/');
        let root = if root.is_empty() && !address.directory().is_empty() { "/" } else { root };
        Ok(Self { connection: Arc::new(connection), root: root.into() })
    }

    fn path_of(&self, location: &Path) -> String {
        match (&*self.root, location.as_ref()) {
            (root, "") => root.to_owned(),
            ("/", name) => format!("/{name}"),
            (root, name) => format!("{root}/{name}"),
        }
    }

    async fn read(&self, location: &Path, range: Range<u64>) -> StoreResult<Bytes> {
        self.connection
            .run(self.path_of(location), move |session, path| async move {
                files::read(&session, &path, range).await
            })
            .await
    }

    /// Reads a range piece by piece, so that memory does not grow with a file that a stranger put there.
    fn read_in_pieces(&self, location: Path, range: Range<u64>) -> BoxStream<'static, StoreResult<Bytes>> {
        let store = self.clone();
        stream::try_unfold(range.start, move |start| {
            let (store, location) = (store.clone(), location.clone());
            let end = range.end.min(start.saturating_add(PIECE_BYTES));
            async move {
                if start >= end {
                    return Ok(None);
                }
                Ok(Some((store.read(&location, start..end).await?, end)))
            }
        })
        .boxed()
    }
}

#[async_trait]
impl ObjectStore for SftpStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        let path = self.path_of(location);
        match options.mode {
            PutMode::Overwrite => {
                self.connection
                    .run(path, |session, path| async move { files::put(&session, &path, payload).await })
                    .await?;
            }
            PutMode::Create => {
                self.connection
                    .run(path, |session, path| async move { files::create(&session, &path, payload).await })
                    .await?;
            }
            PutMode::Update(_) => return Err(not_implemented("conditional updates")),
        }
        Ok(PutResult { e_tag: None, version: None, extensions: Extensions::default() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let named = location.clone();
        let meta =
            self.connection
                .run(self.path_of(location), |session, path| async move {
                    files::head(&session, &path, named).await
                })
                .await?;
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(range) => range
                .as_range(meta.size)
                .map_err(|source| StoreError::Generic { store: STORE, source: source.into() })?,
            None => 0..meta.size,
        };
        let stream = if options.head {
            stream::empty().boxed()
        } else {
            self.read_in_pieces(location.clone(), range.clone())
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream),
            meta,
            range,
            attributes: Attributes::default(),
            extensions: Extensions::default(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        let store = self.clone();
        locations
            .map(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    store.connection.run(store.path_of(&location), files::delete).await?;
                    Ok(location)
                }
            })
            .buffered(connection::REQUESTS_AT_ONCE)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let (store, folder) = (self.clone(), prefix.cloned().unwrap_or_default());
        async move {
            let path = store.path_of(&folder);
            let found = store
                .connection
                .run(path, |session, path| async move { files::list(&session, path, folder).await })
                .await?;
            Ok::<_, StoreError>(stream::iter(found.into_iter().map(Ok)))
        }
        .into_stream()
        .try_flatten()
        .boxed()
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        Err(not_implemented("uploads in parts"))
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> StoreResult<ListResult> {
        Err(not_implemented("listings of one folder"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> StoreResult<()> {
        Err(not_implemented("copies"))
    }
}

/// What the vault never asks for.
fn not_implemented(operation: &str) -> StoreError {
    StoreError::NotImplemented { operation: operation.into(), implementer: STORE.into() }
}

impl fmt::Display for SftpStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.address().fmt(formatter)
    }
}
