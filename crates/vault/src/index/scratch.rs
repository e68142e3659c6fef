//! Where tables go that are too large for memory: nameless files in the index directory, gone with the process.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{Error, ErrorKind, Result};

/// Files that this process has made, so that no two have one name.
static FILES_MADE: AtomicU64 = AtomicU64::new(0);

/// The index directory.
#[derive(Debug, Clone)]
pub(super) struct Scratch(Arc<Path>);

impl Scratch {
    pub(super) fn in_directory(directory: &Path) -> Self {
        Self(directory.into())
    }

    /// A new file that only its owner may read and that has no name any more.
    pub(super) fn file(&self) -> Result<File> {
        self.create().map_err(|error| self.error("no file can be made in", error))
    }

    /// The error for what happened to a file.
    pub(super) fn error(&self, what: &str, source: io::Error) -> Error {
        let directory = self.0.display();
        let (kind, guidance) = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => (
                ErrorKind::NoSpace,
                format!(
                    "make room in {directory}: the index of a vault takes up to 100 bytes for each chunk"
                ),
            ),
            _ => (ErrorKind::Unreachable, format!("check {directory} and the disk that it is on")),
        };
        Error::new(kind, format!("{what} the index directory {directory}: {source}"))
            .with_guidance(guidance)
            .with_source(source)
    }

    fn create(&self) -> io::Result<File> {
        fs::create_dir_all(&self.0)?;
        loop {
            let number = FILES_MADE.fetch_add(1, Ordering::Relaxed);
            let path = self.0.join(format!("table-{}-{number}", process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => return fs::remove_file(&path).map(|()| file),
                // Left by a process of the same number that died before it could take the name away.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}
