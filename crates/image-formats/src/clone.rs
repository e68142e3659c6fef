//! Clones of files that share their blocks, where the file system has them (XFS, btrfs).

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt as _, path::Path};

use rustix::{fs::OFlags, io::Errno};

use crate::{Error, Result, raw};

/// Makes a new file that holds what another holds now, at once and without room of its own. Returns false, and makes none, where
/// the file system cannot do that. Nobody should write to the file meanwhile.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Denied`], [`crate::ErrorKind::NoSpace`]; when there is a file already.
pub async fn clone_file(source: &Path, target: &Path) -> Result<bool> {
    let doing = format!("cloning {} to {}", source.display(), target.display());
    let from = raw::open(source, OpenOptions::new().read(true), OFlags::empty()).await?;
    let path = target.to_owned();
    let cloned = raw::blocking(move || {
        let to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let outcome = match rustix::fs::ioctl_ficlone(&to, &from) {
            Ok(()) => return Ok(true),
            // Another file system, a block device, a file system without it.
            Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => Ok(false),
            Err(error) => Err(io::Error::from(error)),
        };
        std::fs::remove_file(&path)?;
        outcome
    });
    cloned.await.map_err(|error| Error::from_io(doing, error))
}
