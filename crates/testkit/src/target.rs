//! Where Cargo puts what it builds.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};

/// Cargo's target directory: the ancestor of this executable that Cargo has marked as a cache.
///
/// # Errors
/// When this executable was not built by Cargo, or has been moved.
pub fn target_directory() -> Result<PathBuf> {
    let executable = env::current_exe().context("finding this executable")?;
    let target = executable.ancestors().find(|directory| directory.join("CACHEDIR.TAG").exists());
    Ok(target.with_context(|| format!("{} is not in a target directory", executable.display()))?.to_owned())
}
