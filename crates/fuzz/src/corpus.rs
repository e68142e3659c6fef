//! Inputs in files: those that are worth mutating, the one under way, and those at which a decoder fails.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Inputs that are read of an earlier run.
const INPUTS_MAX: usize = 4096;

/// The files of one decoder.
#[derive(Debug)]
pub struct Corpus {
    directory: PathBuf,
    under_way: File,
}

impl Corpus {
    /// The corpus of the decoder with this name. Made if it is missing.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open(directory: &Path, name: &str) -> Result<Self> {
        let directory = directory.join(name);
        fs::create_dir_all(directory.join("inputs"))
            .with_context(|| format!("making {}", directory.display()))?;
        let under_way = directory.join("under-way");
        let under_way =
            File::create(&under_way).with_context(|| format!("making {}", under_way.display()))?;
        Ok(Self { directory, under_way })
    }

    /// The inputs of earlier runs, always in the same order.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn inputs(&self) -> Result<Vec<Vec<u8>>> {
        let mut inputs = BTreeMap::new();
        for entry in fs::read_dir(self.directory.join("inputs"))?.take(INPUTS_MAX) {
            let path = entry?.path();
            let input = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            inputs.insert(path, input);
        }
        Ok(inputs.into_values().collect())
    }

    /// Keeps an input for later runs.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn keep(&self, input: &[u8]) -> Result<()> {
        Ok(fs::write(self.directory.join("inputs").join(name(input)), input)?)
    }

    /// Keeps the input that is about to be tried: whatever becomes of this process, it is in the file `under-way`.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn begin(&self, input: &[u8]) -> Result<()> {
        self.under_way.set_len(input.len() as u64)?;
        Ok(self.under_way.write_all_at(input, 0)?)
    }

    /// Keeps an input at which the decoder fails. Returns its file.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn keep_failure(&self, input: &[u8]) -> Result<PathBuf> {
        let path = self.directory.join(format!("failure-{}", name(input)));
        fs::write(&path, input).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

fn name(input: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
