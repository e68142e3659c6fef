//! `cargo xtask fuzz`: mutated bytes for every decoder of foreign bytes, and mutated file systems for what reads them.

use std::os::unix::process::ExitStatusExt;

use anyhow::{Result, bail, ensure};
use clap::Parser;

use crate::cargo::cargo;

/// Gives file systems with random bytes changed to the machine that reads files.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask fuzz file-systems")]
struct FileSystems {
    /// How many mutations of each file system.
    #[arg(long, default_value_t = 1000)]
    mutations: u64,
    /// The first of them: what failed as number 101 is looked at again by --from 101 --mutations 1.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// What they follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The test that runs a share of them each time.
const FILE_SYSTEMS_TEST: &str = "mutations::mutated_file_systems_give_errors_or_data";

/// Fuzzes with these arguments; fails when a decoder does what it may not.
pub fn run(arguments: &[String]) -> Result<()> {
    if arguments.first().is_some_and(|first| first == "file-systems") {
        return file_systems(&FileSystems::parse_from(arguments));
    }
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

fn file_systems(arguments: &FileSystems) -> Result<()> {
    let mut command = cargo();
    command.args(["test", "--quiet", "--package", "files", "--test", "file_systems", "--"]);
    command.args(["--exact", FILE_SYSTEMS_TEST, "--nocapture"]);
    command.env("HOLDFAST_MUTATIONS", arguments.mutations.to_string());
    command.env("HOLDFAST_MUTATIONS_FROM", arguments.from.to_string());
    command.env("HOLDFAST_SEED", arguments.seed.to_string());
    ensure!(command.status()?.success(), "a file system did what it may not");
    Ok(())
}
