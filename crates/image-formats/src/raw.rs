//! Raw files and block devices.

mod image;
mod target;

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;

use crate::{Error, ErrorKind, Result};

pub use image::RawImage;
pub use target::RawTarget;
pub(crate) use target::create_new;

/// Runs what may wait for a disk on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Opens a file or block device; anything else is refused. Never waits, as it would for the writer of a named pipe.
pub(crate) async fn open(path: &Path, options: &OpenOptions, flags: OFlags) -> Result<File> {
    let doing = format!("opening {}", path.display());
    let (path, mut options) = (path.to_owned(), options.clone());
    let opened = blocking(move || {
        let file = options.custom_flags((flags | OFlags::NONBLOCK).bits() as i32).open(path)?;
        let file_type = file.metadata()?.file_type();
        Ok((file_type.is_file() || file_type.is_block_device()).then_some(file))
    });
    match opened.await {
        Ok(Some(file)) => Ok(file),
        Ok(None) => {
            Err(Error::new(ErrorKind::Unsupported, format!("{doing}: neither a file nor a block device")))
        }
        Err(error) => Err(Error::from_io(doing, error)),
    }
}

/// The length of a file or block device in bytes.
fn length_bytes(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}
