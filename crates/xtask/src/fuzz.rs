//! `cargo xtask fuzz`: mutated bytes for every decoder of foreign bytes.

use std::os::unix::process::ExitStatusExt;

use anyhow::{Result, bail};

use crate::cargo::cargo;

/// Fuzzes with these arguments; fails when a decoder does what it may not.
pub fn run(arguments: &[String]) -> Result<()> {
    let mut command = cargo();
    let status = command.args(["run", "--quiet", "--package", "fuzz", "--"]).args(arguments).status()?;
    match (status.success(), status.signal().or(status.code().filter(|code| *code > 128))) {
        (true, _) => Ok(()),
        (false, Some(_)) => {
            bail!("the decoder named last aborts: its input is in target/fuzz/DECODER/under-way")
        }
        (false, None) => bail!("a decoder failed"),
    }
}
