//! Raw files and block devices that are read.

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSliceMut},
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ::image::{ByteRange, DiskImage, Extent, ExtentKind};
use async_trait::async_trait;
use rustix::{
    fs::{OFlags, SeekFrom, seek},
    io::{Errno, ReadWriteFlags, preadv2},
};

use super::{blocking, file_error, length_bytes, open, read_lock};
use crate::{Error, Result};

/// Bytes that are read at a time where a disk has to be waited for.
const WAITING_READ_BYTES: usize = 1 << 20;

/// A raw file or block device that is read. Its size is rounded up to a multiple of 512; the bytes added are zeros. A file
/// that becomes shorter is an error of kind [`::image::ErrorKind::Io`].
#[derive(Debug)]
pub struct RawImage {
    file: Arc<File>,
    /// The file's own length when it was opened.
    length_bytes: u64,
    size_bytes: u64,
    /// Buffers for waiting reads; as many as were under way at once.
    idle: Mutex<Vec<Vec<u8>>>,
}

impl RawImage {
    /// Opens a file or block device. Nothing keeps others from writing to it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Denied`], and [`crate::ErrorKind::Unsupported`] for what is
    /// neither a file nor a block device.
    pub async fn open(path: &Path) -> Result<Self> {
        Self::of(Arc::new(open(path, OpenOptions::new().read(true), OFlags::empty()).await?), path).await
    }

    /// Opens a file or block device and takes the locks that QEMU takes on an image that it reads: no VM can start from it,
    /// and no other program of QEMU's write to it, for as long as this lives.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InUse`] when a VM runs from it or a program writes to it, else as [`RawImage::open`].
    pub async fn open_locked(path: &Path) -> Result<Self> {
        let file = open(path, OpenOptions::new().read(true), OFlags::empty()).await?;
        let locked = blocking(move || read_lock::take(&file).map(|()| file)).await;
        let file =
            locked.map_err(|error| file_error(format!("taking {} for reading", path.display()), error))?;
        Self::of(Arc::new(file), path).await
    }

    /// A file that is open already, under whatever lock it is held.
    pub(super) async fn of(file: Arc<File>, path: &Path) -> Result<Self> {
        let measured = Arc::clone(&file);
        let length = blocking(move || length_bytes(&measured)).await;
        let length =
            length.map_err(|error| Error::from_io(format!("measuring {}", path.display()), error))?;
        let size_bytes = length.next_multiple_of(512);
        Ok(Self { file, length_bytes: length, size_bytes, idle: Mutex::default() })
    }

    /// Reads on a thread that may wait for the disk.
    async fn read_waiting(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let (file, expected_bytes) = (Arc::clone(&self.file), self.length_bytes);
        let mut data = self.idle().pop().unwrap_or_default();
        data.resize(buffer.len(), 0);
        let data = blocking(move || {
            read(&file, offset_bytes, &mut data, expected_bytes)?;
            Ok(data)
        });
        let data = data.await?;
        buffer.copy_from_slice(&data);
        self.idle().push(data);
        Ok(())
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl DiskImage for RawImage {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn extents(&self, range: ByteRange) -> ::image::Result<Vec<Extent>> {
        range.check_within(self.size_bytes)?;
        let (file, expected_bytes) = (Arc::clone(&self.file), self.length_bytes);
        let extents = blocking(move || {
            let extents = map(&file, range)?;
            // What was cut off would look like a hole.
            if length_bytes(&file)? < expected_bytes { Err(shrunk()) } else { Ok(extents) }
        })
        .await;
        extents.map_err(|error| ::image::Error::from_io("mapping a raw image", error))
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> ::image::Result<()> {
        let range = ByteRange { offset_bytes, length_bytes: buffer.len() as u64 };
        range.check_within(self.size_bytes)?;
        let (mut offset_bytes, mut rest) = (offset_bytes, buffer);
        while !rest.is_empty() {
            let count = match read_cached(&self.file, offset_bytes, rest) {
                0 => {
                    let count = rest.len().min(WAITING_READ_BYTES);
                    let waited = self.read_waiting(offset_bytes, &mut rest[..count]).await;
                    waited.map_err(|error| ::image::Error::from_io("reading a raw image", error))?;
                    count
                }
                count => count,
            };
            (offset_bytes, rest) = (offset_bytes + count as u64, &mut rest[count..]);
        }
        Ok(())
    }
}

/// Reads what is in the page cache, from the start of the buffer on. Never waits: no thread is changed for it, and nothing
/// copied twice. Where it reads nothing, [`read`] tells why.
fn read_cached(file: &File, offset_bytes: u64, buffer: &mut [u8]) -> usize {
    preadv2(file, &mut [IoSliceMut::new(buffer)], offset_bytes, ReadWriteFlags::NOWAIT).unwrap_or(0)
}

/// Fills the buffer; what lies behind the end that is expected of the file is zeros.
fn read(file: &File, offset_bytes: u64, buffer: &mut [u8], expected_bytes: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let position_bytes = offset_bytes + filled as u64;
        match file.read_at(&mut buffer[filled..], position_bytes) {
            Ok(0) if position_bytes < expected_bytes => return Err(shrunk()),
            Ok(0) => {
                buffer[filled..].fill(0);
                break;
            }
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn shrunk() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter")
}

/// Tells data from holes as the file system does; what it cannot tell is data.
fn map(file: &File, range: ByteRange) -> io::Result<Vec<Extent>> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut position_bytes = range.offset_bytes;
    while position_bytes < range.end_bytes() {
        let data_bytes = match seek(file, SeekFrom::Data(position_bytes)) {
            Ok(data_bytes) => data_bytes,
            Err(Errno::NXIO) => range.end_bytes(),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => position_bytes,
            Err(error) => return Err(error.into()),
        };
        if data_bytes > position_bytes {
            let hole = ByteRange::between(position_bytes, data_bytes.min(range.end_bytes()));
            extents.push(Extent { range: hole, kind: ExtentKind::Zero });
            position_bytes = hole.end_bytes();
            continue;
        }
        let hole_bytes = match seek(file, SeekFrom::Hole(position_bytes)) {
            Ok(hole_bytes) => hole_bytes,
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NXIO) => range.end_bytes(),
            Err(error) => return Err(error.into()),
        };
        // A file that changes meanwhile must not make this stand still.
        let end_bytes = hole_bytes.clamp(position_bytes + 1, range.end_bytes());
        extents.push(Extent { range: ByteRange::between(position_bytes, end_bytes), kind: ExtentKind::Data });
        position_bytes = end_bytes;
    }
    Ok(extents)
}
