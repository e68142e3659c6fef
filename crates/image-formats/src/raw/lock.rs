//! Locks that shut out QEMU, which locks bytes of every image that it has open.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::MetadataExt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::{FlockOperation, fcntl_lock},
    io::Errno,
};

/// The files that this process has locked, by device and inode. The kernel never counts a process's own locks against it,
/// and drops them as soon as the process closes any handle of the file.
static LOCKED: Mutex<Vec<Identity>> = Mutex::new(Vec::new());

type Identity = (u64, u64);

/// A lock on a file for as long as this lives and the file stays open.
#[derive(Debug)]
pub(super) struct Lock {
    identity: Identity,
}

impl Lock {
    /// Takes the lock, or fails when another process, QEMU above all, was first.
    pub(super) fn take(file: &File) -> io::Result<Self> {
        let identity = identity(&file.metadata()?);
        match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
            // Where there are no locks, QEMU has none either.
            Ok(()) | Err(Errno::NOLCK | Errno::NOSYS) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => return Err(io::ErrorKind::ResourceBusy.into()),
            Err(error) => return Err(error.into()),
        }
        locked().push(identity);
        Ok(Self { identity })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut locked = locked();
        if let Some(position) = locked.iter().position(|identity| *identity == self.identity) {
            locked.swap_remove(position);
        }
    }
}

/// Fails when this process holds the lock of a file: to open it once more would end in losing the lock.
pub(super) fn check_not_ours(metadata: &Metadata) -> io::Result<()> {
    match locked().contains(&identity(metadata)) {
        true => Err(io::ErrorKind::ResourceBusy.into()),
        false => Ok(()),
    }
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

fn locked() -> MutexGuard<'static, Vec<Identity>> {
    LOCKED.lock().unwrap_or_else(PoisonError::into_inner)
}
