//! A written disk with the content of a real machine: this one's own files.

use std::{
    collections::HashSet,
    env, fs,
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use model::ByteCount;

/// What file systems allocate.
const BLOCK_BYTES: u64 = 4096;

/// Fills a new raw file with files of this machine, one behind the other, each from the start of a block as a file system
/// lays them out; returns the bytes written. What they do not fill stays a hole.
pub fn create(path: &Path, size: ByteCount) -> Result<ByteCount> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    file.set_len(size.0)?;
    let mut filler = Filler {
        disk: BufWriter::with_capacity(1 << 20, file),
        position: 0,
        size: size.0,
        seen: HashSet::new(),
    };
    for root in roots() {
        filler.add_directory(&root)?;
    }
    filler.disk.flush()?;
    ensure!(filler.position > size.0 / 2, "this machine has not enough files to fill a disk of {size}");
    Ok(ByteCount(filler.position))
}

/// Where files are taken from: the system, and the toolchain that runs this.
fn roots() -> Vec<PathBuf> {
    let toolchain =
        env::var_os("CARGO").and_then(|cargo| Some(Path::new(&cargo).parent()?.parent()?.to_owned()));
    ["/usr/bin", "/usr/lib", "/usr/share"].map(PathBuf::from).into_iter().chain(toolchain).collect()
}

struct Filler {
    disk: BufWriter<File>,
    position: u64,
    size: u64,
    /// Files that are there already, by device and inode: hard links would be copies.
    seen: HashSet<(u64, u64)>,
}

impl Filler {
    /// Adds what can be read, in the order of names, so that the same machine gives the same disk.
    fn add_directory(&mut self, directory: &Path) -> Result<()> {
        let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let Ok(metadata) = path.symlink_metadata() else { continue };
            if self.position == self.size {
                return Ok(());
            } else if metadata.is_dir() {
                self.add_directory(&path)?;
            } else if metadata.is_file() && self.seen.insert((metadata.dev(), metadata.ino())) {
                self.add_file(&path)?;
            }
        }
        Ok(())
    }

    fn add_file(&mut self, path: &Path) -> Result<()> {
        let Ok(file) = File::open(path) else { return Ok(()) };
        self.disk.seek(SeekFrom::Start(self.position))?;
        let written = io::copy(&mut file.take(self.size - self.position), &mut self.disk)
            .with_context(|| format!("copying {}", path.display()))?;
        self.position = (self.position + written).next_multiple_of(BLOCK_BYTES).min(self.size);
        Ok(())
    }
}
