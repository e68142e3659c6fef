//! Raw files and block devices.

mod direct;
mod image;
mod lock;
mod read_lock;
mod target;

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;

use crate::{Error, ErrorKind, Result};
use lock::{Lock, check_not_ours};

pub use image::RawImage;
pub use target::RawTarget;
pub(crate) use target::create_new;

/// Runs what may wait for a disk on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Opens a file or block device; anything else is refused, and so is what a target of this process has taken. Never waits,
/// as it would for the writer of a named pipe.
pub(crate) async fn open(path: &Path, options: &OpenOptions, flags: OFlags) -> Result<File> {
    let doing = format!("opening {}", path.display());
    let (path, mut options) = (path.to_owned(), options.clone());
    let opened = blocking(move || {
        check_not_ours(&std::fs::metadata(&path)?)?;
        let file = options.custom_flags((flags | OFlags::NONBLOCK).bits() as i32).open(path)?;
        let file_type = file.metadata()?.file_type();
        Ok((file_type.is_file() || file_type.is_block_device()).then_some(file))
    });
    match opened.await {
        Ok(Some(file)) => Ok(file),
        Ok(None) => {
            Err(Error::new(ErrorKind::Unsupported, format!("{doing}: neither a file nor a block device")))
        }
        Err(error) => Err(file_error(doing, error)),
    }
}

/// Fails when another process holds a lock on a file or block device, as QEMU does on every image that it has open. A file
/// that this process may not write to passes unchecked.
pub(crate) async fn check_at_rest(path: &Path) -> Result<()> {
    // Only who may write to a file may lock it.
    let file = match open(path, OpenOptions::new().read(true).write(true), OFlags::empty()).await {
        Err(error) if error.kind() == ErrorKind::Denied => return Ok(()),
        opened => opened?,
    };
    let locked = blocking(move || Lock::take(&file).map(drop)).await;
    locked.map_err(|error| file_error(format!("looking for locks on {}", path.display()), error))
}

/// Whether another program holds a lock on an image file of any format, as QEMU and its tools do on every file that they have
/// open, and so does an image that this process has locked.
///
/// # Errors
/// [`ErrorKind::NotFound`] and others of the operating system.
pub async fn is_open_elsewhere(path: &Path) -> Result<bool> {
    match check_at_rest(path).await {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == ErrorKind::InUse => Ok(true),
        Err(error) => Err(error),
    }
}

/// An error of the operating system, with what to do when the file is in use.
fn file_error(doing: String, error: io::Error) -> Error {
    let error = Error::from_io(doing, error);
    match error.kind() {
        ErrorKind::InUse => error.with_guidance("stop the VM or program that uses it"),
        _ => error,
    }
}

/// The length of a file or block device in bytes.
fn length_bytes(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}
