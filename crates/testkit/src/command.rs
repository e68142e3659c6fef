//! Other people's programs, run to their end.

use std::{fs::File, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

/// Runs a command and returns what it wrote to its standard output.
///
/// # Errors
/// When it cannot be started, or ends with anything but success; then with the command line and its standard error.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, complaint.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command with its standard output going to a new file.
///
/// # Errors
/// As [`run`], and when the file cannot be created.
pub fn run_into_file(command: &mut Command, path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    run(command.stdout(file)).map(drop)
}
