//! A process's way to a store.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    path::Path,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until},
};

use super::{Applied, Mutation, SimStore};
use crate::process::Process;

/// 2026-01-01T00:00:00Z, when every world begins.
const BEGINNING: Duration = Duration::from_secs(1_767_225_600);

/// A connection of one process.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    store: Arc<SimStore>,
    process: Arc<Process>,
}

impl Connection {
    pub(crate) fn new(store: &Arc<SimStore>, process: &Arc<Process>) -> Self {
        Self { store: Arc::clone(store), process: Arc::clone(process) }
    }

    /// Sends a change. It takes effect, if it does, whatever becomes of the process meanwhile.
    async fn mutate(&self, mutation: Mutation) -> Result<Applied> {
        self.process.step().await;
        let course = self.store.course();
        let answer_at = Instant::now() + course.answer_after;
        let (tell, told) = oneshot::channel();
        if let Some(after) = course.effect_after {
            let (store, who, mutation) =
                (Arc::clone(&self.store), self.process.name.clone(), mutation.clone());
            tokio::spawn(async move {
                sleep(after).await;
                let _ = tell.send(store.apply(&who, mutation));
            });
        }
        sleep_until(answer_at).await;
        let answer =
            if course.is_answered { told.await.map_err(|_| self.failed()) } else { Err(self.failed()) };
        if answer.is_err() {
            self.store.trace.add(&self.process.name, format!("gets no answer: {mutation}"));
        }
        self.process.step().await;
        answer
    }

    /// Sends a question. The answer is the truth of one moment between the two ends.
    async fn ask<T>(&self, what: impl FnOnce() -> String, answer: impl FnOnce() -> T) -> Result<T> {
        self.process.step().await;
        let course = self.store.course();
        let answer_at = Instant::now() + course.answer_after;
        sleep(course.effect_after.unwrap_or_default()).await;
        let answer = course.is_answered.then(answer).ok_or_else(|| self.failed());
        if answer.is_err() {
            self.store.trace.add(&self.process.name, format!("gets no answer: {}", what()));
        }
        sleep_until(answer_at).await;
        self.process.step().await;
        answer
    }

    async fn delete_one(self, path: Path) -> Result<Path> {
        match self.mutate(Mutation::Delete { path: path.clone() }).await? {
            Applied::NotFound => Err(not_found(&path)),
            _ => Ok(path),
        }
    }

    fn failed(&self) -> Error {
        Error::Generic { store: "simulated store", source: "503 Slow Down".into() }
    }
}

#[async_trait]
impl ObjectStore for Connection {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let is_create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return Err(not_implemented("conditional overwriting")),
        };
        let mutation = Mutation::Put { path: path.clone(), bytes: Bytes::from(payload), is_create };
        match self.mutate(mutation).await? {
            Applied::Exists => {
                Err(Error::AlreadyExists { path: path.to_string(), source: "it is there".into() })
            }
            _ => {
                Ok(PutResult { e_tag: None, version: None, extensions: object_store::Extensions::default() })
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        _path: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(not_implemented("multipart uploads"))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let asked = self.ask(|| format!("get {path}"), || self.store.objects().get(path).cloned()).await?;
        let stored = asked.ok_or_else(|| not_found(path))?;
        let size_bytes = stored.bytes.len() as u64;
        let range = match options.range {
            None => 0..size_bytes,
            Some(GetRange::Bounded(range)) if range.start < size_bytes => {
                range.start..range.end.min(size_bytes)
            }
            Some(GetRange::Offset(start)) if start < size_bytes => start..size_bytes,
            Some(GetRange::Suffix(length)) => size_bytes.saturating_sub(length)..size_bytes,
            Some(_) => {
                return Err(Error::Generic {
                    store: "simulated store",
                    source: "416 Range Not Satisfiable".into(),
                });
            }
        };
        let bytes = stored.bytes.slice(range.start as usize..range.end as usize);
        let payload = GetResultPayload::Stream(stream::once(async move { Ok(bytes) }).boxed());
        let meta = meta(path, size_bytes, stored.modified_at);
        Ok(GetResult {
            payload,
            meta,
            range,
            attributes: object_store::Attributes::default(),
            extensions: object_store::Extensions::default(),
        })
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let connection = self.clone();
        paths
            .then(move |path| {
                let connection = connection.clone();
                async move { connection.delete_one(path?).await }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (connection, prefix) = (self.clone(), prefix.cloned());
        let listing = async move {
            let list = || connection.store.list(&connection.process.name, prefix.as_ref());
            let listed = connection.ask(|| "list".to_owned(), list).await?;
            Ok::<_, Error>(stream::iter(listed.into_iter().map(Ok)))
        };
        listing.into_stream().try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> Result<ListResult> {
        Err(not_implemented("listing folders"))
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(not_implemented("copying"))
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the simulated store {}", self.store.name)
    }
}

/// What the store tells about an object; its times are right.
pub(super) fn meta(path: &Path, size_bytes: u64, modified_at: Duration) -> ObjectMeta {
    let last_modified = SystemTime::UNIX_EPOCH + BEGINNING + modified_at;
    ObjectMeta {
        location: path.clone(),
        last_modified: last_modified.into(),
        size: size_bytes,
        e_tag: None,
        version: None,
    }
}

fn not_found(path: &Path) -> Error {
    Error::NotFound { path: path.to_string(), source: "it is not there".into() }
}

fn not_implemented(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: "the simulated store".to_owned() }
}
