//! The directory entry of a new file.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// The directory entry of a new file, which is durable only after its directory was flushed too.
#[derive(Debug)]
pub(crate) struct NewEntry {
    directory: PathBuf,
    is_durable: AtomicBool,
}

impl NewEntry {
    pub(crate) fn of(path: &Path) -> Self {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self { directory: directory.to_owned(), is_durable: AtomicBool::new(false) }
    }

    /// Flushes the directory, once. Blocks.
    pub(crate) fn make_durable(&self) -> io::Result<()> {
        if !self.is_durable.load(Ordering::Acquire) {
            File::open(&self.directory)?.sync_all()?;
            self.is_durable.store(true, Ordering::Release);
        }
        Ok(())
    }
}
