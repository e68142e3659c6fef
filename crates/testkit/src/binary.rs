//! The `holdfast` binary under test.

use std::{env, path::PathBuf, process::Command, sync::OnceLock};

use anyhow::{Result, anyhow};

use crate::{command::run, target::target_directory};

/// The binary, brought up to date with the sources once for each process. `HOLDFAST_BINARY` names another one.
///
/// # Errors
/// When it cannot be built.
pub fn holdfast() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(binary) = env::var_os("HOLDFAST_BINARY") {
        return Ok(binary.into());
    }
    BINARY
        .get_or_init(|| build().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!(error))
}

fn build() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo)
        .args(["build", "--quiet", "--package", "holdfast"])
        .current_dir(env!("CARGO_MANIFEST_DIR")))?;
    Ok(target_directory()?.join("debug/holdfast"))
}
