//! Raw files and block devices that are read.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use ::image::{ByteRange, DiskImage, Extent, ExtentKind};
use async_trait::async_trait;
use rustix::{
    fs::{OFlags, SeekFrom, seek},
    io::Errno,
};

use super::{blocking, length_bytes, open};
use crate::{Error, Result};

/// A raw file or block device that is read. Its size is rounded up to a multiple of 512; the bytes added are zeros. A file
/// that becomes shorter is an error of kind [`::image::ErrorKind::Io`].
///
/// No lock is taken: the disk of a VM that might be started meanwhile is safer read through [`crate::QemuNbdImage`].
#[derive(Debug)]
pub struct RawImage {
    file: Arc<File>,
    /// The file's own length when it was opened.
    length_bytes: u64,
    size_bytes: u64,
}

impl RawImage {
    /// Opens a file or block device.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Denied`], and [`crate::ErrorKind::Unsupported`] for what is
    /// neither a file nor a block device.
    pub async fn open(path: &Path) -> Result<Self> {
        let file = Arc::new(open(path, OpenOptions::new().read(true), OFlags::empty()).await?);
        let measured = Arc::clone(&file);
        let length = blocking(move || length_bytes(&measured)).await;
        let length =
            length.map_err(|error| Error::from_io(format!("measuring {}", path.display()), error))?;
        Ok(Self { file, length_bytes: length, size_bytes: length.next_multiple_of(512) })
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
        let (file, expected_bytes) = (Arc::clone(&self.file), self.length_bytes);
        let data = blocking(move || read(&file, range, expected_bytes)).await;
        buffer.copy_from_slice(&data.map_err(|error| ::image::Error::from_io("reading a raw image", error))?);
        Ok(())
    }
}

/// Reads a range; what lies behind the end that is expected of the file is zeros.
fn read(file: &File, range: ByteRange, expected_bytes: u64) -> io::Result<Vec<u8>> {
    let mut data = vec![0; range.length_bytes as usize];
    let mut filled = 0;
    while filled < data.len() {
        match file.read_at(&mut data[filled..], range.offset_bytes + filled as u64) {
            Ok(0) if range.offset_bytes + (filled as u64) < expected_bytes => return Err(shrunk()),
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(data)
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
