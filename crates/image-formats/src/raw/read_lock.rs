//! The locks that QEMU holds on an image that it reads. Others may read it too; nobody may write to it.

use std::{fs::File, io};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};

/// What a process does with an image, by the bits of QEMU's permissions (`BLK_PERM_…` in its block-common.h).
#[derive(Debug, Clone, Copy)]
enum Permission {
    ConsistentRead = 0,
    Write = 1,
    Resize = 3,
}

impl Permission {
    /// The byte that is locked by who does this (`RAW_LOCK_PERM_BASE` in QEMU's file-posix.c).
    fn done(self) -> i64 {
        100 + self as i64
    }

    /// The byte that is locked by who does not bear that others do this (`RAW_LOCK_SHARED_BASE`).
    fn refused(self) -> i64 {
        200 + self as i64
    }
}

/// Takes the locks of a reader, which last until the file is closed; fails when another program writes to it, or bears no
/// reader. They belong to this handle of the file, not to the process: other handles may be closed meanwhile.
pub(super) fn take(file: &File) -> io::Result<()> {
    use Permission::{ConsistentRead, Resize, Write};
    // As QEMU does: first lock, then look. Of two that come at once, none misses the other.
    for byte in [ConsistentRead.done(), Write.refused(), Resize.refused()] {
        match fcntl(file, FcntlArg::F_OFD_SETLK(&of_byte(libc::F_RDLCK, byte))) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => return Err(io::ErrorKind::ResourceBusy.into()),
            // Where there are no locks, QEMU has none either.
            Err(Errno::ENOLCK | Errno::ENOSYS | Errno::EINVAL) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    for byte in [ConsistentRead.refused(), Write.done(), Resize.done()] {
        let mut found = of_byte(libc::F_WRLCK, byte);
        fcntl(file, FcntlArg::F_OFD_GETLK(&mut found))?;
        if i32::from(found.l_type) != libc::F_UNLCK {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
    }
    Ok(())
}

fn of_byte(kind: i32, byte: i64) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: byte, l_len: 1, l_pid: 0 }
}
