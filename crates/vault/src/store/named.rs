//! Objects with a fixed name: entries of the log, states, the config's kin. The name decides who came first.

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStoreExt, PutMode, PutPayload, path::Path};

use super::{FIRST_WAIT, Store, TRIES, classify};
use crate::{Error, ErrorKind, Result};

/// What became of an attempt to create an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    /// It is there, with these bytes.
    New,
    /// Another one has the name.
    Exists,
}

impl Store {
    /// Creates an object; exactly one of any number of callers that give different bytes is told [`Created::New`]. Durable
    /// when it returns. A reply that was lost is found out about by reading the object back.
    pub(crate) async fn create_named(&self, name: &str, bytes: Vec<u8>) -> Result<Created> {
        let (path, bytes) = (self.named_path(name), Bytes::from(bytes));
        let mut wait = FIRST_WAIT;
        let mut tries = TRIES;
        loop {
            let put = self.inner.put_opts(&path, PutPayload::from(bytes.clone()), PutMode::Create.into());
            let source = match put.await {
                Ok(_) => return Ok(Created::New),
                Err(source) => source,
            };
            let kind = classify(&source);
            if !matches!(kind, ErrorKind::AlreadyExists | ErrorKind::Unreachable) {
                return Err(self.error(&format!("{name} cannot be written"), source));
            }
            // It may be ours: an earlier try whose reply was lost.
            match self.get_named(name, bytes.len() as u64).await {
                Ok(Some(found)) => return Ok(if found == bytes { Created::New } else { Created::Exists }),
                Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(Created::Exists),
                Ok(None) | Err(_) if tries > 1 => {}
                Ok(None) => return Err(self.error(&format!("{name} cannot be written"), source)),
                Err(error) => return Err(error),
            }
            tries -= 1;
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    /// Writes an object over whatever has its name. Durable when it returns.
    pub(crate) async fn put_named(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let (path, bytes) = (self.named_path(name), Bytes::from(bytes));
        let what = || format!("{name} cannot be written");
        self.persist(what, || async { self.inner.put(&path, bytes.clone().into()).await.map(|_| ()) }).await
    }

    /// The bytes of an object of at most `limit_bytes`; none where there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for one that is larger.
    pub(crate) async fn get_named(&self, name: &str, limit_bytes: u64) -> Result<Option<Bytes>> {
        match self.read(&self.named_path(name), limit_bytes, name).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether there is an object with this name.
    pub(crate) async fn has_named(&self, name: &str) -> Result<bool> {
        self.has_path(&self.named_path(name), name).await
    }

    pub(super) async fn has_path(&self, path: &Path, what: &str) -> Result<bool> {
        let failed = || format!("{what} cannot be looked up");
        match self.persist(failed, || self.inner.head(path)).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The names below a folder, sorted. A hint: a store may be late or leave some out.
    pub(crate) async fn list_named(&self, folder: &str) -> Result<Vec<String>> {
        let path = self.named_path(folder);
        let what = || format!("{folder} cannot be listed");
        let found: Vec<ObjectMeta> =
            self.persist(what, || self.inner.list(Some(&path)).try_collect()).await?;
        let mut names: Vec<String> =
            found.into_iter().filter_map(|meta| Some(meta.location.filename()?.to_owned())).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Removes an object; that there is none is fine.
    pub(crate) async fn delete_named(&self, name: &str) -> Result<()> {
        self.delete_path(&self.named_path(name), name).await
    }

    pub(super) async fn delete_path(&self, path: &Path, what: &str) -> Result<()> {
        let failed = || format!("{what} cannot be deleted");
        match self.persist(failed, || self.inner.delete(path)).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn named_path(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }
}

/// The error of a listing that cannot be complete.
pub(crate) fn incomplete(what: &str) -> Error {
    Error::new(ErrorKind::Unreachable, format!("the store's list of {what} is not complete"))
        .with_guidance("try again; if it stays so, prove the store with: holdfast vault doctor")
}
