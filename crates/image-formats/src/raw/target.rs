//! Raw files and block devices that are written.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use ::image::{ByteRange, DiskTarget};
use async_trait::async_trait;
use rustix::{
    fs::{FallocateFlags, OFlags, fallocate},
    io::Errno,
};

use super::{
    RawImage, blocking,
    direct::{DirectFile, STAGED_MAX_BYTES},
    file_error, length_bytes,
    lock::Lock,
    open,
};
use crate::{Error, ErrorKind, FileTarget, Result, new_file::NewEntry};

/// Zeros written at a time where holes cannot be punched.
const ZEROES_BYTES: usize = 1 << 20;

/// A raw file or block device that is written.
#[derive(Debug)]
pub struct RawTarget {
    file: Arc<File>,
    /// None where there is no direct I/O.
    direct: Option<Arc<DirectFile>>,
    size_bytes: u64,
    /// Only of a file that was created here.
    entry: Option<Arc<NewEntry>>,
    /// Only of a file that was there already.
    _lock: Option<Lock>,
}

impl RawTarget {
    /// Creates a sparse file that only its owner may read.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::NotFound`] for a missing folder, [`ErrorKind::Denied`].
    pub async fn create(path: &Path, size_bytes: u64) -> Result<Self> {
        let owned_path = path.to_owned();
        let created = blocking(move || {
            let file = create_new(&owned_path)?;
            file.set_len(size_bytes).inspect_err(|_| drop(std::fs::remove_file(&owned_path)))?;
            Ok(file)
        });
        let file =
            created.await.map_err(|error| Error::from_io(format!("creating {}", path.display()), error))?;
        let direct = DirectFile::of(&file).map(Arc::new);
        let entry = Some(Arc::new(NewEntry::of(path)));
        Ok(Self { file: Arc::new(file), direct, size_bytes, entry, _lock: None })
    }

    /// Opens a file or block device to write a disk of this size over what it holds. What lies behind the disk's end stays.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`] when it is smaller than the disk, [`ErrorKind::InUse`] when a VM runs from it or it is
    /// mounted, else as [`super::RawImage::open`].
    pub async fn open_existing(path: &Path, size_bytes: u64) -> Result<Self> {
        // Of a block device this holds the exclusive use that the kernel gives only while nothing has it mounted or claimed.
        let file = Arc::new(open(path, OpenOptions::new().read(true).write(true), OFlags::EXCL).await?);
        let locked = Arc::clone(&file);
        let taken = blocking(move || Ok((Lock::take(&locked)?, length_bytes(&locked)?)));
        let (lock, length) = taken
            .await
            .map_err(|error| file_error(format!("taking {} for writing", path.display()), error))?;
        if length < size_bytes {
            let context = format!("{} has {length} bytes, the disk needs {size_bytes}", path.display());
            return Err(
                Error::new(ErrorKind::NoSpace, context).with_guidance("enlarge it or choose another target")
            );
        }
        let direct = DirectFile::of(&file).map(Arc::new);
        Ok(Self { file, direct, size_bytes, entry: None, _lock: Some(lock) })
    }

    /// What the file holds now. Part of the same lock: no second handle of the file is opened, whose end would end the lock.
    pub(crate) async fn image(&self, path: &Path) -> Result<RawImage> {
        RawImage::of(Arc::clone(&self.file), path).await
    }

    async fn work(
        &self,
        doing: &'static str,
        work: impl FnOnce(&File) -> io::Result<()> + Send + 'static,
    ) -> ::image::Result<()> {
        let file = Arc::clone(&self.file);
        blocking(move || work(&file)).await.map_err(|error| ::image::Error::from_io(doing, error))
    }
}

#[async_trait]
impl DiskTarget for RawTarget {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn starts_zeroed(&self) -> bool {
        self.entry.is_some()
    }

    async fn write_at(&self, offset_bytes: u64, data: &[u8]) -> ::image::Result<()> {
        ByteRange { offset_bytes, length_bytes: data.len() as u64 }.check_within(self.size_bytes)?;
        let doing = "writing a raw image";
        let Some(direct) = self.direct.clone() else {
            let data = data.to_vec();
            return self.work(doing, move |file| file.write_all_at(&data, offset_bytes)).await;
        };
        for (number, part) in data.chunks(STAGED_MAX_BYTES).enumerate() {
            let offset_bytes = offset_bytes + (number * STAGED_MAX_BYTES) as u64;
            let (direct, staged) = (Arc::clone(&direct), direct.stage(part));
            self.work(doing, move |file| direct.write_at(file, staged, offset_bytes)).await?;
        }
        Ok(())
    }

    async fn write_zeroes(&self, range: ByteRange) -> ::image::Result<()> {
        range.check_within(self.size_bytes)?;
        self.work("punching a hole into a raw image", move |file| punch_hole(file, range)).await
    }

    async fn flush(&self) -> ::image::Result<()> {
        let entry = self.entry.clone();
        self.work("flushing a raw image", move |file| {
            file.sync_all()?;
            entry.map_or(Ok(()), |entry| entry.make_durable())
        })
        .await
    }
}

#[async_trait]
impl FileTarget for RawTarget {
    async fn finish(self: Box<Self>) -> ::image::Result<()> {
        self.flush().await
    }
}

/// Creates a file that only its owner may read; fails when there is one.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

fn punch_hole(file: &File, range: ByteRange) -> io::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, flags, range.offset_bytes, range.length_bytes) {
        Ok(()) => Ok(()),
        // A file system without holes, or a device that zeroes only whole blocks.
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => write_zeroes(file, range),
        Err(error) => Err(error.into()),
    }
}

fn write_zeroes(file: &File, range: ByteRange) -> io::Result<()> {
    let zeroes = vec![0; range.length_bytes.min(ZEROES_BYTES as u64) as usize];
    let mut offset_bytes = range.offset_bytes;
    while offset_bytes < range.end_bytes() {
        let length = zeroes.len().min((range.end_bytes() - offset_bytes) as usize);
        file.write_all_at(&zeroes[..length], offset_bytes)?;
        offset_bytes += length as u64;
    }
    Ok(())
}
