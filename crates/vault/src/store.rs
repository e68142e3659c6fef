//! The object store as a vault sees it: a few kinds of objects, named by their own digests, and some with fixed names.

mod clock;
mod failure;
mod named;
mod receive;
#[cfg(test)]
mod tests;

use std::{fmt, ops::Range, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use env::Env;
use futures::TryStreamExt;
use model::Timestamp;
use object_store::{
    GetOptions, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload, path::Path,
};

use crate::{
    Digest, Error, ErrorKind, Result, StoreLocation,
    config::CONFIG_BYTES_MAX,
    location::OpenLocation,
    pool::{Buffer, BufferPool},
};
pub(crate) use clock::CLOCK_FOLDER;
use failure::classify;
pub(crate) use failure::{UNSUPPORTED_GUIDANCE, error, io_error};
pub(crate) use named::Created;

/// Tries of one request, above those that the store's own client makes.
const TRIES: u32 = 4;

/// The wait before the second try; doubled before each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ObjectKind {
    KeySlot,
    Pack,
    IndexSegment,
    Point,
}

impl ObjectKind {
    fn folder(self) -> &'static str {
        match self {
            Self::KeySlot => "keys",
            Self::Pack => "packs",
            Self::IndexSegment => "index",
            Self::Point => "points",
        }
    }

    /// The name of an object of this kind below the vault's place.
    pub(crate) fn name_of(self, digest: &Digest) -> String {
        let (folder, name) = (self.folder(), digest.to_string());
        match self {
            Self::Pack => format!("{folder}/{}/{name}", name.get(..2).unwrap_or_default()),
            _ => format!("{folder}/{name}"),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::KeySlot => "key slot",
            Self::Pack => "pack",
            Self::IndexSegment => "index segment",
            Self::Point => "recovery point",
        }
    }
}

/// The objects of one vault.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The directory of this host that holds the objects, where there is one.
    directory: Option<PathBuf>,
    env: Env,
    wants_reserve: bool,
    location: StoreLocation,
    /// For messages.
    place: String,
}

impl Store {
    /// Makes the place where it does not exist, and opens it.
    pub(crate) async fn create(location: &StoreLocation, env: &Env) -> Result<Self> {
        Ok(Self::new(location.create().await?, location, env))
    }

    pub(crate) async fn open(location: &StoreLocation, env: &Env) -> Result<Self> {
        Ok(Self::new(location.open().await?, location, env))
    }

    fn new(open: OpenLocation, location: &StoreLocation, env: &Env) -> Self {
        let OpenLocation { store, prefix, directory } = open;
        let wants_reserve = location.has_fixed_room();
        let (env, location, place) = (env.clone(), location.clone(), location.to_string());
        Self { inner: store, prefix, directory, env, wants_reserve, location, place }
    }

    /// Where it is.
    pub(crate) fn location(&self) -> &StoreLocation {
        &self.location
    }

    /// Whether room is to be kept free in it for the day on which it is full.
    pub(crate) fn wants_reserve(&self) -> bool {
        self.wants_reserve
    }

    /// Whether its objects are files of this host.
    pub(crate) fn is_local(&self) -> bool {
        self.directory.is_some()
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Writes the config; fails with [`ErrorKind::AlreadyExists`] when there is one. Durable when it returns.
    pub(crate) async fn create_config(&self, bytes: Vec<u8>) -> Result<()> {
        let (path, payload) = (self.config_path(), PutPayload::from(bytes));
        // Not tried again: the first try may have succeeded, and then the second would call it a stranger's.
        self.inner
            .put_opts(&path, payload, PutMode::Create.into())
            .await
            .map(|_| ())
            .map_err(|source| self.error("the vault's config cannot be written", source))
    }

    /// The config's bytes; [`ErrorKind::NotFound`] where there is no vault.
    pub(crate) async fn read_config(&self) -> Result<Bytes> {
        self.read(&self.config_path(), CONFIG_BYTES_MAX, "the vault's config").await
    }

    /// Puts an object under its digest. Durable when it returns. Putting the same bytes again changes nothing, or heals
    /// a damaged object.
    pub(crate) async fn put(&self, kind: ObjectKind, bytes: impl Into<Bytes>) -> Result<Digest> {
        let bytes = bytes.into();
        let hashed = bytes.clone();
        let digest = self.env.threads.run(move || Digest::of(&hashed)).await?;
        let path = self.path(kind, &digest);
        let what = || format!("{} {digest} cannot be written", kind.as_str());
        self.persist(what, || async { self.inner.put(&path, bytes.clone().into()).await.map(|_| ()) })
            .await?;
        Ok(digest)
    }

    /// The bytes of an object of at most `limit_bytes`, as they are in the store.
    pub(crate) async fn get_unchecked(
        &self,
        kind: ObjectKind,
        digest: &Digest,
        limit_bytes: u64,
    ) -> Result<Bytes> {
        let what = format!("{} {digest}", kind.as_str());
        self.read(&self.path(kind, digest), limit_bytes, &what).await
    }

    /// As [`Store::get_unchecked`], into a buffer of the pool.
    pub(crate) async fn get_pooled(
        &self,
        kind: ObjectKind,
        digest: &Digest,
        limit_bytes: u64,
        buffers: &BufferPool,
    ) -> Result<Buffer> {
        let what = format!("{} {digest}", kind.as_str());
        let receive = |found| receive::into_buffer(found, buffers.take_empty(), self.env.threads);
        self.read_by(&self.path(kind, digest), limit_bytes, &what, receive).await
    }

    /// The bytes of an object, which are those that its name says.
    pub(crate) async fn get(&self, kind: ObjectKind, digest: &Digest, limit_bytes: u64) -> Result<Bytes> {
        let bytes = self.get_unchecked(kind, digest, limit_bytes).await?;
        if Digest::of(&bytes) == *digest {
            return Ok(bytes);
        }
        Err(Error::corrupt(format!("{} {digest} of {} is damaged", kind.as_str(), self.place)))
    }

    /// A part of a pack, exactly as long as asked for, in a buffer of the pool.
    pub(crate) async fn get_pack_range(
        &self,
        digest: &Digest,
        range: Range<u64>,
        buffers: &BufferPool,
    ) -> Result<Buffer> {
        let path = self.path(ObjectKind::Pack, digest);
        self.get_range(&path, range, &format!("pack {digest}"), buffers).await
    }

    async fn get_range(
        &self,
        path: &Path,
        range: Range<u64>,
        what: &str,
        buffers: &BufferPool,
    ) -> Result<Buffer> {
        let failed = || format!("{what} cannot be read");
        let read = self.persist(failed, || async {
            let options = GetOptions::new().with_range(Some(range.clone()));
            match self.inner.get_opts(path, options).await {
                Ok(found) if found.range == range => {
                    receive::into_buffer(found, buffers.take_empty(), self.env.threads).await.map(Some)
                }
                Ok(_) => Ok(None),
                Err(error) if classify(&error) == ErrorKind::Unreachable => {
                    // Stores have no common word for a range beyond an object's end; its size tells.
                    let ends_before = self.inner.head(path).await.is_ok_and(|meta| meta.size < range.end);
                    if ends_before { Ok(None) } else { Err(error) }
                }
                Err(error) => Err(error),
            }
        });
        // Boxed: what an object is received with is large, and all that read hold it.
        match Box::pin(read).await? {
            Some(bytes) if bytes.len() as u64 == range.end - range.start => Ok(bytes),
            _ => Err(Error::corrupt(format!("{what} of {} is too short", self.place))),
        }
    }

    /// The size in bytes of an object; none where it is not there.
    pub(crate) async fn head(&self, kind: ObjectKind, digest: &Digest) -> Result<Option<u64>> {
        let path = self.path(kind, digest);
        let what = || format!("{} {digest} cannot be looked for", kind.as_str());
        let found = self.persist(what, || self.inner.head(&path)).await;
        Ok(absent_as_none(found)?.map(|meta| meta.size))
    }

    /// Deletes an object; one that is not there is no error.
    pub(crate) async fn delete(&self, kind: ObjectKind, digest: &Digest) -> Result<()> {
        self.delete_at(&self.path(kind, digest), &format!("{} {digest}", kind.as_str())).await
    }

    /// The objects of a kind and their sizes in bytes. Fails rather than leave one out; names that are no digest are not
    /// the vault's.
    pub(crate) async fn list(&self, kind: ObjectKind) -> Result<Vec<(Digest, u64)>> {
        let found = self.list_dated(kind).await?;
        Ok(found.into_iter().map(|(digest, size_bytes, _)| (digest, size_bytes)).collect())
    }

    /// As [`Store::list`], with the time at which the store's own clock says that each object was written last.
    pub(crate) async fn list_dated(&self, kind: ObjectKind) -> Result<Vec<(Digest, u64, Timestamp)>> {
        let found = self.list_in(kind.folder(), &format!("the {}s", kind.as_str())).await?;
        let named = |meta: ObjectMeta| {
            let digest = meta.location.filename()?.parse().ok()?;
            Some((digest, meta.size, clock::last_modified(&meta)))
        };
        Ok(found.into_iter().filter_map(named).collect())
    }

    async fn list_in(&self, folder: &str, what: &str) -> Result<Vec<ObjectMeta>> {
        let folder = self.named_path(folder);
        let what = || format!("{what} cannot be listed");
        self.persist(what, || self.inner.list(Some(&folder)).try_collect()).await
    }

    async fn delete_at(&self, path: &Path, what: &str) -> Result<()> {
        let what = || format!("{what} cannot be deleted");
        // Gone is gone: a try whose answer was lost may have done it.
        absent_as_none(self.persist(what, || self.inner.delete(path)).await).map(drop)
    }

    async fn read(&self, path: &Path, limit_bytes: u64, what: &str) -> Result<Bytes> {
        self.read_by(path, limit_bytes, what, GetResult::bytes).await
    }

    /// Reads an object of at most `limit_bytes`, by this way to receive its bytes.
    async fn read_by<T, F>(
        &self,
        path: &Path,
        limit_bytes: u64,
        what: &str,
        receive: impl Fn(GetResult) -> F,
    ) -> Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let failed = || format!("{what} cannot be read");
        let read = self.persist(failed, || async {
            let found = self.inner.get(path).await?;
            let size_bytes = found.meta.size;
            if size_bytes <= limit_bytes { Ok(Ok(receive(found).await?)) } else { Ok(Err(size_bytes)) }
        });
        // Boxed: what an object is received with is large, and all that read hold it.
        Box::pin(read).await?.map_err(|size_bytes| {
            let place = &self.place;
            Error::corrupt(format!("{what} of {place} has {size_bytes} bytes, more than any has"))
        })
    }

    /// Tries a request again while it fails in a way that may pass.
    async fn persist<T, F>(&self, what: impl Fn() -> String, request: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let mut wait = FIRST_WAIT;
        for _ in 1..TRIES {
            match request().await {
                Ok(value) => return Ok(value),
                Err(source) if classify(&source) == ErrorKind::Unreachable => {
                    tracing::debug!(error = &source as &dyn std::error::Error, "{}; trying again", what());
                }
                Err(source) => return Err(self.error(&what(), source)),
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        request().await.map_err(|source| self.error(&what(), source))
    }

    fn error(&self, what: &str, source: object_store::Error) -> Error {
        failure::error(format!("{what} in {}", self.place), source)
    }

    fn config_path(&self) -> Path {
        self.prefix.clone().join("config")
    }

    fn named_path(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |folder, part| folder.join(part))
    }

    fn path(&self, kind: ObjectKind, digest: &Digest) -> Path {
        self.named_path(&kind.name_of(digest))
    }
}

/// What is not there is no failure.
fn absent_as_none<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Store").field("place", &self.place).finish_non_exhaustive()
    }
}
