//! Programs that are installed into Cargo's target directory, once.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::target::target_directory;

/// Says that all of an installation is there.
const MARK: &str = "installed";

/// The directory of an installation, made first where it is not there. A new version has a new name.
///
/// Any number of processes may ask at once: one installs, the others wait.
pub(super) async fn obtain(
    name: &'static str,
    install: impl FnOnce(&Path) -> Result<()> + Send + 'static,
) -> Result<PathBuf> {
    tokio::task::spawn_blocking(move || obtain_blocking(name, install)).await?
}

fn obtain_blocking(name: &str, install: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = target_directory()?.join("stores");
    let directory = cache.join(name);
    if directory.join(MARK).exists() {
        return Ok(directory);
    }
    fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join(format!("{name}.lock")))?;
    lock.lock().context("waiting for another process to install the same")?;
    if !directory.join(MARK).exists() {
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir(&directory)?;
        install(&directory).with_context(|| format!("installing {name} for the tests of stores"))?;
        File::create(directory.join(MARK))?;
    }
    Ok(directory)
}
