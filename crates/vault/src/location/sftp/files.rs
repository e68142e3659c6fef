//! Objects as files: written under another name first, and then given theirs.

use std::{
    io,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use env::SystemEntropy;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{Error as StoreError, ObjectMeta, PutPayload, Result as StoreResult, path::Path};
use russh_sftp::{
    client::error::Error as SftpError,
    protocol::{FileAttributes, StatusCode},
};

use super::{
    STORE,
    session::{Session, SftpResult},
};

/// Between the name that a file will have and random digits, in the name of a file that is being written.
const PARTIAL: &str = ".partial-";

/// Directories that are read at once.
const DIRECTORIES_AT_ONCE: usize = 8;

/// Folders of a vault are two deep; below this, links go round in a circle.
const FOLDERS_DEEP_MAX: usize = 8;

/// The kind of file in the protocol's permissions, as in `stat.h`.
const KIND_MASK: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

pub(super) async fn is_directory(session: Arc<Session>, path: String) -> StoreResult<bool> {
    let attributes = session.stat(&path).await.map_err(|error| failed(&path, error))?;
    Ok(kind(&attributes) == Some(DIRECTORY))
}

/// Makes a directory and what is missing above it.
pub(super) async fn create_directories(session: Arc<Session>, path: String) -> StoreResult<()> {
    create_missing(&session, &path).await.map_err(|error| failed(&path, error))
}

/// Writes an object over whatever has its name.
pub(super) async fn put(session: &Session, path: &str, payload: PutPayload) -> StoreResult<()> {
    let partial = write_partial(session, path, &payload).await?;
    match session.rename_over(&partial, path).await {
        Ok(()) => sync_parent(session, path).await,
        Err(error) => {
            // As good as it gets: the connection may be gone.
            let _ = session.remove(&partial).await;
            Err(failed(path, error))
        }
    }
}

/// Writes an object unless something has its name: a link to the written file is made whole or not at all.
pub(super) async fn create(session: &Session, path: &str, payload: PutPayload) -> StoreResult<()> {
    if !session.can_link() {
        return create_in_place(session, path, &payload).await;
    }
    let partial = write_partial(session, path, &payload).await?;
    let linked = session.link(&partial, path).await;
    let removed = session.remove(&partial).await;
    match linked {
        Ok(()) => {
            removed.map_err(|error| failed(&partial, error))?;
            sync_parent(session, path).await
        }
        Err(error @ SftpError::Status(_)) => {
            // Version 3 of the protocol has no status for what exists.
            if exists(session, path).await? {
                // It may be ours, by a try that failed before this.
                sync_parent(session, path).await?;
                return Err(already_exists(path, error));
            }
            // The file system knows no links.
            create_in_place(session, path, &payload).await
        }
        Err(error) => Err(failed(path, error)),
    }
}

/// Creates the file under its own name. Only one can, but a reader may see it half written.
async fn create_in_place(session: &Session, path: &str, payload: &PutPayload) -> StoreResult<()> {
    match write_with_directories(session, path, payload).await {
        Ok(()) => sync_parent(session, path).await,
        Err(error @ SftpError::Status(_)) if exists(session, path).await? => {
            sync_parent(session, path).await?;
            Err(already_exists(path, error))
        }
        Err(error) => Err(write_failed(session, path, payload, error).await),
    }
}

async fn write_partial(session: &Session, path: &str, payload: &PutPayload) -> StoreResult<String> {
    let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
    let random = u64::from_le_bytes(env::random(&SystemEntropy));
    let partial = format!("{folder}/.{name}{PARTIAL}{random:016x}");
    match write_with_directories(session, &partial, payload).await {
        Ok(()) => Ok(partial),
        Err(error) => Err(write_failed(session, path, payload, error).await),
    }
}

async fn write_with_directories(session: &Session, path: &str, payload: &PutPayload) -> SftpResult<()> {
    let content = || payload.iter().cloned().collect::<Vec<Bytes>>().into_iter();
    match session.write_new(path, content()).await {
        Err(SftpError::Status(status)) if status.status_code == StatusCode::NoSuchFile => {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            create_missing(session, folder).await?;
            session.write_new(path, content()).await
        }
        written => written,
    }
}

/// Makes a directory and what is missing above it, each of them durable before the next.
async fn create_missing(session: &Session, path: &str) -> SftpResult<()> {
    let ends = path.match_indices('/').map(|(at, _)| at).filter(|&at| at > 0).chain([path.len()]);
    let mut missing = Vec::new();
    for end in ends.collect::<Vec<_>>().into_iter().rev() {
        let ancestor = path.get(..end).unwrap_or_default();
        match session.stat(ancestor).await {
            Ok(_) => break,
            Err(SftpError::Status(_)) => missing.push(ancestor),
            Err(error) => return Err(error),
        }
    }
    for directory in missing.into_iter().rev() {
        match session.create_directory(directory).await {
            // Somebody else was faster.
            Err(SftpError::Status(_)) if session.stat(directory).await.is_ok() => {}
            created => created?,
        }
        session.sync_directory(parent(directory)).await?;
    }
    Ok(())
}

async fn sync_parent(session: &Session, path: &str) -> StoreResult<()> {
    session.sync_directory(parent(path)).await.map_err(|error| failed(path, error))
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((folder, _)) => folder,
        None => ".",
    }
}

pub(super) async fn head(session: &Session, path: &str, location: Path) -> StoreResult<ObjectMeta> {
    let attributes = session.stat(path).await.map_err(|error| failed(path, error))?;
    if kind(&attributes).is_some_and(|kind| kind != REGULAR) {
        return Err(StoreError::NotFound { path: path.to_owned(), source: "it is not a file".into() });
    }
    object(location, &attributes)
}

/// A range of a file that has all of it.
pub(super) async fn read(session: &Session, path: &str, range: Range<u64>) -> StoreResult<Bytes> {
    let wanted = range.end - range.start;
    let bytes = session.read(path, range).await.map_err(|error| failed(path, error))?;
    if bytes.len() as u64 == wanted {
        return Ok(bytes.into());
    }
    let source =
        io::Error::new(io::ErrorKind::UnexpectedEof, format!("{path} became shorter while it was read"));
    Err(StoreError::Generic { store: STORE, source: source.into() })
}

pub(super) async fn delete(session: Arc<Session>, path: String) -> StoreResult<()> {
    session.remove(&path).await.map_err(|error| failed(&path, error))
}

/// The files of a folder and of all folders in it; none where there is no such folder. Partial files are no objects.
pub(super) async fn list(session: &Session, path: String, folder: Path) -> StoreResult<Vec<ObjectMeta>> {
    let mut found = Vec::new();
    let mut folders = vec![(path.clone(), folder)];
    for depth in 0.. {
        if folders.is_empty() {
            break;
        }
        if depth > FOLDERS_DEEP_MAX {
            let source = format!("folders in {path} are more than {FOLDERS_DEEP_MAX} deep").into();
            return Err(StoreError::Generic { store: STORE, source });
        }
        let read: Vec<Folder> = stream::iter(folders)
            .map(|(path, folder)| list_folder(session, path, folder, depth == 0))
            .buffered(DIRECTORIES_AT_ONCE)
            .try_collect()
            .await?;
        folders = Vec::new();
        for (objects, below) in read {
            found.extend(objects);
            folders.extend(below);
        }
    }
    Ok(found)
}

/// The objects in one folder, and the folders in it: where they are on the server, and in the store.
type Folder = (Vec<ObjectMeta>, Vec<(String, Path)>);

/// Reads one folder.
async fn list_folder(
    session: &Session,
    path: String,
    folder: Path,
    may_be_absent: bool,
) -> StoreResult<Folder> {
    let entries = match session.read_directory(&path).await {
        Err(SftpError::Status(status)) if may_be_absent && status.status_code == StatusCode::NoSuchFile => {
            return Ok((Vec::new(), Vec::new()));
        }
        read => read.map_err(|error| failed(&path, error))?,
    };
    let (mut objects, mut folders) = (Vec::new(), Vec::new());
    for entry in entries {
        let name = entry.filename;
        if name.contains('/') {
            let source = format!("the server says that {path} has a file {name:?}").into();
            return Err(StoreError::Generic { store: STORE, source });
        }
        if name.starts_with('.') && name.contains(PARTIAL) {
            continue;
        }
        let (entry_path, location) = (format!("{path}/{name}"), folder.clone().join(name.as_str()));
        let mut attributes = entry.attrs;
        if matches!(kind(&attributes), None | Some(LINK)) {
            attributes = session.stat(&entry_path).await.map_err(|error| failed(&entry_path, error))?;
        }
        match kind(&attributes) {
            Some(DIRECTORY) => folders.push((entry_path, location)),
            Some(REGULAR) | None => objects.push(object(location, &attributes)?),
            Some(_) => {}
        }
    }
    Ok((objects, folders))
}

fn kind(attributes: &FileAttributes) -> Option<u32> {
    attributes.permissions.map(|permissions| permissions & KIND_MASK).filter(|&kind| kind != 0)
}

fn object(location: Path, attributes: &FileAttributes) -> StoreResult<ObjectMeta> {
    let (Some(size), Some(mtime)) = (attributes.size, attributes.mtime) else {
        let source = format!("the server does not say how large or how old {location} is").into();
        return Err(StoreError::Generic { store: STORE, source });
    };
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(mtime.into());
    Ok(ObjectMeta { location, last_modified: modified.into(), size, e_tag: None, version: None })
}

async fn exists(session: &Session, path: &str) -> StoreResult<bool> {
    match session.stat(path).await {
        Ok(_) => Ok(true),
        Err(SftpError::Status(status)) if status.status_code == StatusCode::NoSuchFile => Ok(false),
        Err(error) => Err(failed(path, error)),
    }
}

fn already_exists(path: &str, error: SftpError) -> StoreError {
    StoreError::AlreadyExists { path: path.to_owned(), source: Box::new(error) }
}

/// The error of a write: the protocol's general failure is a full disk when there is no room.
async fn write_failed(session: &Session, path: &str, payload: &PutPayload, error: SftpError) -> StoreError {
    let is_general = matches!(&error, SftpError::Status(status) if status.status_code == StatusCode::Failure);
    if is_general
        && session.free_bytes(parent(path)).await.is_some_and(|free| free < payload.content_length() as u64)
    {
        let full = io::Error::new(io::ErrorKind::StorageFull, error);
        return StoreError::Generic { store: STORE, source: full.into() };
    }
    failed(path, error)
}

fn failed(path: &str, error: SftpError) -> StoreError {
    let path = path.to_owned();
    match &error {
        SftpError::Status(status) if status.status_code == StatusCode::NoSuchFile => {
            StoreError::NotFound { path, source: Box::new(error) }
        }
        SftpError::Status(status) if status.status_code == StatusCode::PermissionDenied => {
            StoreError::PermissionDenied { path, source: Box::new(error) }
        }
        _ => StoreError::Generic { store: STORE, source: Box::new(error) },
    }
}
