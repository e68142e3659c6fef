//! A directory of the host.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use image::{ByteRange, Extent, ExtentKind};
use rustix::{
    fs::{FallocateFlags, SeekFrom, fallocate, ioctl_ficlone, seek},
    io::Errno,
};

use super::{Folder, FolderFile};

/// Zeros written at a time where holes cannot be punched.
const ZEROES_BYTES: usize = 1 << 20;

/// A directory whose files only their owner may read.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    handle: File,
}

impl Directory {
    /// Opens a directory, which is created where there is none; its parent must be there.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn open(path: &Path) -> io::Result<Self> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {
                if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                    File::open(parent)?.sync_all()?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Ok(Self { path: path.to_owned(), handle: File::open(path)? })
    }

    fn open_file(&self, name: &str, options: &mut OpenOptions) -> io::Result<Arc<dyn FolderFile>> {
        let file = options.read(true).write(true).mode(0o600).open(self.path.join(name))?;
        Ok(Arc::new(DirectoryFile(file)))
    }
}

impl Folder for Directory {
    fn names(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.path)?.collect::<io::Result<Vec<_>>>()?;
        Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn FolderFile>> {
        self.open_file(name, OpenOptions::new().create(true).truncate(true))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn FolderFile>> {
        self.open_file(name, &mut OpenOptions::new())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

#[derive(Debug)]
struct DirectoryFile(File);

impl FolderFile for DirectoryFile {
    fn length_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset_bytes)
    }

    fn write_at(&self, offset_bytes: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset_bytes)
    }

    fn zero(&self, range: ByteRange) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.0, flags, range.offset_bytes, range.length_bytes) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => write_zeroes(&self.0, range),
            Err(error) => Err(error.into()),
        }
    }

    fn set_length(&self, length_bytes: u64) -> io::Result<()> {
        self.0.set_len(length_bytes)
    }

    fn extents(&self, range: ByteRange) -> io::Result<Vec<Extent>> {
        map(&self.0, range)
    }

    fn clone_of(&self, file: &File) -> io::Result<bool> {
        match ioctl_ficlone(&self.0, file) {
            Ok(()) => Ok(true),
            // Another file system, or one that has no clones.
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// For a file system without holes.
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

/// Tells data from holes as the file system does; what it cannot tell is data.
fn map(file: &File, range: ByteRange) -> io::Result<Vec<Extent>> {
    let mut extents = Vec::new();
    let mut position_bytes = range.offset_bytes;
    let mut is_hole = false;
    while position_bytes < range.end_bytes() {
        let next_bytes = match seek(
            file,
            if is_hole { SeekFrom::Data(position_bytes) } else { SeekFrom::Hole(position_bytes) },
        ) {
            Ok(next_bytes) => next_bytes.min(range.end_bytes()),
            Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => range.end_bytes(),
            Err(error) => return Err(error.into()),
        };
        if next_bytes > position_bytes {
            let kind = if is_hole { ExtentKind::Zero } else { ExtentKind::Data };
            extents.push(Extent { range: ByteRange::between(position_bytes, next_bytes), kind });
            position_bytes = next_bytes;
        }
        is_hole = !is_hole;
    }
    Ok(extents)
}
