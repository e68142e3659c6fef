//! The `holdfast` binary under test.

use std::{env, path::PathBuf, process::Command, sync::OnceLock};

use anyhow::{Context, Result, anyhow, ensure};

use crate::target::target_directory;

/// The variable that names a binary to be used instead of what the sources give.
const OVERRIDE: &str = "HOLDFAST_BINARY";

/// The binary, brought up to date with the sources once for each process. `HOLDFAST_BINARY` names another one.
///
/// # Errors
/// When it cannot be built.
pub fn holdfast() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(binary) = env::var_os(OVERRIDE) {
        return Ok(binary.into());
    }
    BINARY
        .get_or_init(|| build("debug", &[]).map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!(error))
}

/// The binary as users run it, to be measured; brought up to date with the sources. `HOLDFAST_BINARY` names another one.
///
/// # Errors
/// When it cannot be built.
pub fn holdfast_optimised() -> Result<PathBuf> {
    match env::var_os(OVERRIDE) {
        Some(binary) => Ok(binary.into()),
        None => build("release", &["--release"]),
    }
}

fn build(profile: &str, options: &[&str]) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Cargo's progress goes to standard error: the first build takes minutes. With the features that the whole workspace asks
    // for, dependencies are shared with what is built for tests.
    let status = Command::new(cargo)
        .args(["build", "--workspace", "--bin", "holdfast"])
        .args(options)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .context("running cargo")?;
    ensure!(status.success(), "holdfast cannot be built: cargo ended with {status}");
    Ok(target_directory()?.join(profile).join("holdfast"))
}
