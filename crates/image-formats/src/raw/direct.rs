//! Writing past the page cache. A restored disk is not read again soon; copying it through the cache would cost as much
//! processor time as all the rest of a restore, and push out what the host's VMs have there.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    sync::{Mutex, PoisonError},
};

use rustix::{fs::OFlags, io::Errno};

/// What the offset, the length and the memory of a direct write are multiples of: the largest logical block in use.
const ALIGNMENT_BYTES: usize = 4096;

/// The most that is staged at once: enough for a disk to be fast, little beside the data that is to be written.
pub(super) const STAGED_MAX_BYTES: usize = 1 << 20;

/// A second way into a file that is open already.
#[derive(Debug)]
pub(super) struct DirectFile {
    file: File,
    /// Buffers with room for alignment; as many as writes were under way at once.
    idle: Mutex<Vec<Vec<u8>>>,
}

impl DirectFile {
    /// Opens the file again; none where its file system has no direct I/O.
    pub(super) fn of(file: &File) -> Option<Self> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = (OFlags::DIRECT | OFlags::NONBLOCK).bits() as i32;
        let file = OpenOptions::new().write(true).custom_flags(flags).open(path).ok()?;
        Some(Self { file, idle: Mutex::default() })
    }

    /// Takes a copy of data to be written, of at most [`STAGED_MAX_BYTES`], in memory as direct I/O needs it.
    pub(super) fn stage(&self, data: &[u8]) -> Staged {
        let mut buffer = self.lock().pop().unwrap_or_default();
        let needed = data.len() + ALIGNMENT_BYTES;
        if buffer.len() < needed {
            buffer = vec![0; needed];
        }
        let start = buffer.as_ptr().align_offset(ALIGNMENT_BYTES).min(ALIGNMENT_BYTES);
        buffer[start..start + data.len()].copy_from_slice(data);
        Staged { buffer, start, length: data.len() }
    }

    /// Writes staged data. What is not aligned, at either end, goes through `cached`, and so does all of it where the
    /// device wants another alignment.
    pub(super) fn write_at(&self, cached: &File, staged: Staged, offset_bytes: u64) -> io::Result<()> {
        let data = &staged.buffer[staged.start..staged.start + staged.length];
        let aligned = if offset_bytes.is_multiple_of(ALIGNMENT_BYTES as u64) {
            data.len() - data.len() % ALIGNMENT_BYTES
        } else {
            0
        };
        let (direct, rest) = data.split_at(aligned);
        match self.file.write_all_at(direct, offset_bytes) {
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                cached.write_all_at(data, offset_bytes)?;
            }
            Err(error) => return Err(error),
            Ok(()) => cached.write_all_at(rest, offset_bytes + aligned as u64)?,
        }
        self.lock().push(staged.buffer);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Data on its way to a file.
#[derive(Debug)]
pub(super) struct Staged {
    buffer: Vec<u8>,
    start: usize,
    length: usize,
}
