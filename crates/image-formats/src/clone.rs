//! Clones of files that share their blocks, where the file system has them (XFS, btrfs).

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, io::Errno};

use crate::{Error, Result, raw};

/// A file that shares its blocks with another and has no name. It is gone when nobody has it open any more, whoever dies.
#[derive(Debug)]
pub struct UnnamedClone(File);

impl UnnamedClone {
    /// Clones a file within its own folder; none where its file system cannot, or the folder may not be written to. What others
    /// write to the source meanwhile is in the clone or not: whoever needs a moment has the source locked.
    ///
    /// # Errors
    /// Those of the source, and of a file system that is full or broken.
    pub async fn of(source: &Path) -> Result<Option<Self>> {
        let from = raw::open(source, OpenOptions::new().read(true), OFlags::empty()).await?;
        let folder = source.parent().unwrap_or(Path::new("/")).to_owned();
        let cloned = raw::blocking(move || clone(&from, &folder)).await;
        cloned
            .map(|file| file.map(Self))
            .map_err(|error| Error::from_io(format!("cloning {}", source.display()), error))
    }

    /// Where programs that this process starts find it, as long as this lives. What they have open outlives it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }
}

fn clone(from: &File, folder: &Path) -> io::Result<Option<File>> {
    let unnamed = OFlags::TMPFILE.bits() as i32;
    let to = match OpenOptions::new().write(true).read(true).mode(0o600).custom_flags(unnamed).open(folder) {
        Ok(to) => to,
        // The folder is somebody else's, or its file system has only files with names.
        Err(error) if is_refusal(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    match rustix::fs::ioctl_ficlone(&to, from) {
        Ok(()) => Ok(Some(to)),
        // A block device, a file system without it.
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_refusal(error: &io::Error) -> bool {
    let refusals = [Errno::OPNOTSUPP, Errno::ISDIR, Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::NOENT];
    refusals.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
