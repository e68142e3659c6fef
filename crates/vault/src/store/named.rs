//! Objects with fixed names. Names are relative to the vault's place, with `/` between folders.

use std::ops::Range;

use bytes::Bytes;
use model::Timestamp;
use object_store::{ObjectStoreExt, PutMode, path::Path};

use super::{FIRST_WAIT, Store, TRIES, absent_as_none, classify, clock::last_modified};
use crate::{ErrorKind, Result, location::directory, pool::BufferPool};

/// What became of a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    /// The object is there, and it is the caller's.
    New,
    /// Somebody else's object was there first; it was not touched.
    Exists,
}

impl Store {
    /// Creates an object unless there is one of this name. Of any number of callers at once one gets [`Created::New`].
    /// Durable when it returns.
    ///
    /// The bytes must be such that nobody else writes them under this name: an object that is found there and holds them
    /// is taken for the caller's own, written by a try whose answer was lost.
    ///
    /// # Errors
    /// After one of kind [`ErrorKind::Unreachable`] the object may be there or not, and may still come.
    pub(crate) async fn create_named(&self, name: &str, bytes: impl Into<Bytes>) -> Result<Created> {
        let (path, bytes) = (self.named_path(name), bytes.into());
        let what = || format!("{name} cannot be created");
        let mut wait = FIRST_WAIT;
        let mut tries_left = TRIES;
        loop {
            tries_left -= 1;
            let put = self.inner.put_opts(&path, bytes.clone().into(), PutMode::Create.into()).await;
            // Clients try again by themselves: that there is an object already may be the second word on our own. Only when
            // the store says so it is durable; what failed may be there, and gone after a power cut.
            let failure = match put {
                Ok(_) => return Ok(Created::New),
                Err(source)
                    if matches!(classify(&source), ErrorKind::AlreadyExists | ErrorKind::Unreachable) =>
                {
                    source
                }
                Err(source) => return Err(self.error(&what(), source)),
            };
            match self.holds(&path, &bytes).await {
                Ok(Some(true)) if classify(&failure) == ErrorKind::AlreadyExists => {
                    self.flush_folder_of(&path).await?;
                    return Ok(Created::New);
                }
                Ok(Some(true)) => {}
                Ok(Some(false)) => return Ok(Created::Exists),
                Ok(None) => {}
                Err(source) if classify(&source) == ErrorKind::Unreachable => {}
                Err(source) => return Err(self.error(&what(), source)),
            }
            if tries_left == 0 {
                let error = self.error(&what(), failure);
                return Err(match error.kind() {
                    // Said to be there and found absent, again and again: the store is of two minds.
                    ErrorKind::AlreadyExists => error.with_kind(ErrorKind::Unreachable),
                    _ => error,
                });
            }
            tracing::debug!(error = &failure as &dyn std::error::Error, "{}; trying again", what());
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    /// Writes an object over whatever has its name. Durable when it returns.
    pub(crate) async fn put_named(&self, name: &str, bytes: impl Into<Bytes>) -> Result<()> {
        let (path, bytes) = (self.named_path(name), bytes.into());
        let what = || format!("{name} cannot be written");
        self.persist(what, || async { self.inner.put(&path, bytes.clone().into()).await.map(drop) }).await
    }

    /// An object's bytes; none where there is no such object.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when there are more than `limit_bytes`.
    pub(crate) async fn get_named(&self, name: &str, limit_bytes: u64) -> Result<Option<Bytes>> {
        absent_as_none(self.read(&self.named_path(name), limit_bytes, name).await)
    }

    /// Whether there is an object with this name.
    pub(crate) async fn has_named(&self, name: &str) -> Result<bool> {
        let path = self.named_path(name);
        let what = || format!("{name} cannot be looked for");
        Ok(absent_as_none(self.persist(what, || self.inner.head(&path)).await)?.is_some())
    }

    /// A part of an object, exactly as long as asked for.
    pub(crate) async fn get_named_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let buffers = BufferPool::of_capacity(0);
        self.get_range(&self.named_path(name), range, name, &buffers).await.map(Bytes::from_owner)
    }

    /// The names of the objects in a folder, relative to it, and their sizes in bytes; sorted by name. Fails rather than
    /// leave one out that the store knows of.
    pub(crate) async fn list_named(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        let path = self.named_path(folder);
        let listed = self.list_in(folder, folder).await?;
        let named = |meta: object_store::ObjectMeta| {
            let parts: Vec<String> =
                meta.location.prefix_match(&path)?.map(|part| part.as_ref().to_owned()).collect();
            Some((parts.join("/"), meta.size))
        };
        let mut found: Vec<_> = listed.into_iter().filter_map(named).collect();
        found.sort();
        Ok(found)
    }

    /// The objects in a folder, by name below the vault's place, and when each was written last by the store's clock.
    pub(crate) async fn list_named_dated(&self, folder: &str) -> Result<Vec<(String, Timestamp)>> {
        let listed = self.list_in(folder, folder).await?;
        let named = |meta: object_store::ObjectMeta| {
            let parts: Vec<String> =
                meta.location.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned()).collect();
            Some((parts.join("/"), last_modified(&meta)))
        };
        Ok(listed.into_iter().filter_map(named).collect())
    }

    /// When an object was written last, by the store's clock; none where there is no such object.
    pub(crate) async fn written_at(&self, name: &str) -> Result<Option<Timestamp>> {
        let path = self.named_path(name);
        let what = || format!("{name} cannot be looked for");
        let found = absent_as_none(self.persist(what, || self.inner.head(&path)).await)?;
        Ok(found.map(|meta| last_modified(&meta)))
    }

    /// Deletes an object; one that is not there is no error.
    pub(crate) async fn delete_named(&self, name: &str) -> Result<()> {
        self.delete_at(&self.named_path(name), name).await
    }

    /// Makes the name of an object durable which is there, but whose creation may have failed after that. Stores other than
    /// directories of this host have done so before they say that it is there.
    async fn flush_folder_of(&self, path: &Path) -> Result<()> {
        match &self.directory {
            Some(directory) => directory::flush_folders(directory, path).await,
            None => Ok(()),
        }
    }

    /// Whether the object has these bytes; none where there is no object.
    async fn holds(&self, path: &Path, bytes: &Bytes) -> object_store::Result<Option<bool>> {
        match self.inner.get(path).await {
            Ok(found) if found.meta.size != bytes.len() as u64 => Ok(Some(false)),
            Ok(found) => Ok(Some(found.bytes().await? == *bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
