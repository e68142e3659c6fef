//! Files that a restore has not finished.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

/// What marks a file that a restore has not finished.
const SUFFIX: &str = ".holdfast-partial";

/// Where a restore writes until every byte is durable: beside the file that it will become, so that the rename is atomic.
#[must_use]
pub fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(SUFFIX);
    path.with_file_name(name)
}

/// Removes what a dead restore to `path` left. Returns whether there was anything.
///
/// # Errors
/// Those of the operating system, but for a file that is not there.
pub fn discard_partial(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(partial_path(path)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
