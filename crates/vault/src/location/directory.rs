//! A vault in a directory of this host.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use object_store::{ObjectStore, local::LocalFileSystem, path::Path as ObjectPath};

use crate::{Error, ErrorKind, Result, store::io_error};

/// Folders are this deep below a vault's directory, as in `packs/<2 digits>`.
const FOLDERS_DEEP: u32 = 2;

/// Makes the directory where it does not exist.
pub(crate) async fn create(directory: &Path) -> Result<()> {
    let wanted = directory.to_owned();
    let made = tokio::task::spawn_blocking(move || create_durably(&wanted)).await?;
    made.map_err(|source| io_error(format!("{} cannot be created", directory.display()), source))
}

/// The directory as a store whose writes are durable when they return.
pub(crate) async fn open(directory: &Path) -> Result<Arc<dyn ObjectStore>> {
    let shown = directory.display();
    match tokio::fs::metadata(directory).await {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(Error::new(ErrorKind::NotFound, format!("{shown} is not a directory"))),
        Err(source) => return Err(io_error(format!("{shown} cannot be opened"), source)),
    }
    let store = LocalFileSystem::new_with_prefix(directory).map_err(|source| {
        Error::invalid(format!("{shown} cannot be used as it is set up")).with_source(source)
    })?;
    Ok(Arc::new(store.with_fsync(true)))
}

/// Creates a directory and what is missing above it. All of them survive a power cut: a directory lasts once the one above
/// it is flushed.
fn create_durably(directory: &Path) -> io::Result<()> {
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

/// Flushes the folders that lead to an object of the vault in `directory`, so that its name survives a power cut.
pub(crate) async fn flush_folders(directory: &Path, object: &ObjectPath) -> Result<()> {
    let (directory, object) = (directory.to_owned(), directory.join(object.as_ref()));
    let failed = format!("the folder of {} cannot be flushed", object.display());
    let flushed = tokio::task::spawn_blocking(move || {
        let folders = object.ancestors().skip(1).take_while(|folder| folder.starts_with(&directory));
        folders.map(fs::File::open).try_for_each(|folder| folder?.sync_all())
    });
    flushed.await?.map_err(|source| io_error(failed, source))
}

/// Removes what interrupted writes left, where it was last written before this moment. Returns how many files went.
pub(crate) async fn sweep_remains(directory: PathBuf, written_before: SystemTime) -> Result<usize> {
    let swept = tokio::task::spawn_blocking({
        let directory = directory.clone();
        move || sweep(&directory, FOLDERS_DEEP, written_before)
    });
    let failed = format!("the remains of interrupted writes in {} cannot be removed", directory.display());
    swept.await?.map_err(|source| io_error(failed, source))
}

fn sweep(directory: &Path, folders_deep: u32, written_before: SystemTime) -> io::Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && folders_deep > 0 {
            swept += sweep(&entry.path(), folders_deep - 1, written_before)?;
        } else if kind.is_file() && entry.file_name().to_str().is_some_and(is_remains) {
            // Another sweep, or the write itself when it ends after all, may have been faster.
            swept += usize::from(found(remove_if_old(&entry.path(), written_before))?.unwrap_or_default());
        }
    }
    Ok(swept)
}

fn remove_if_old(path: &Path, written_before: SystemTime) -> io::Result<bool> {
    let is_old = fs::metadata(path)?.modified()? < written_before;
    if is_old {
        fs::remove_file(path)?;
    }
    Ok(is_old)
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Whether this is what [`LocalFileSystem`] calls a file that is to become one of the vault's objects: `<name>#<number>`.
fn is_remains(name: &str) -> bool {
    let Some((object, number)) = name.split_once('#') else { return false };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    // A number, a digest, or both.
    let is_name = |name: &str| {
        matches!(name.len(), 16 | 64) && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    is_number && (object == "config" || object.split('-').all(is_name))
}
