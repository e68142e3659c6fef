//! `cargo xtask sim`: worlds that follow from a seed.

use anyhow::{Result, ensure};

use crate::cargo::cargo;

/// Runs the simulation with these arguments; fails when a rule was broken.
pub fn run(arguments: &[String]) -> Result<()> {
    let mut command = cargo();
    let status = command.args(["run", "--quiet", "--package", "sim", "--"]).args(arguments).status()?;
    ensure!(status.success(), "the simulation failed");
    Ok(())
}
