//! `cargo xtask bench`: what the product costs, measured beside its peers on this machine in the same run.

mod capture;
mod dataset;
mod guest_writes;
mod process;
mod random;
mod report;
mod sample;
mod vault;

use std::fs;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use testkit::{binary, packages, target::target_directory};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

/// Which bench, and how thoroughly.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to measure.
    name: Name,
    /// Smaller disks and shorter windows: ends within 5 minutes.
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    /// Backups and restores of a running VM: throughput, bytes read, and what they cost the guest.
    Capture,
    /// Full backups, comparisons, restores, verification and garbage collection of a vault, and what it stores.
    Vault,
}

/// Measures, prints a table to standard output and writes `bench/NAME.json` into the target directory.
pub fn run(arguments: &Arguments) -> Result<()> {
    packages::install_missing()?;
    let results = target_directory()?.join("bench");
    fs::create_dir_all(&results)?;
    progress("building an optimised holdfast");
    let binary = binary::holdfast_optimised()?;
    let runtime = Runtime::new().context("starting the runtime")?;
    let report = runtime.block_on(async {
        // Whatever ends the bench, its values are dropped: VMs and server die, and its files are removed.
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let measured = async {
            match arguments.name {
                Name::Capture => capture::measure(&binary, arguments.quick, &results).await,
                Name::Vault => vault::measure(&binary, arguments.quick, &results).await,
            }
        };
        tokio::select! {
            report = measured => report,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })?;
    let name = arguments.name.to_possible_value().context("a bench has a name")?;
    let path = results.join(name.get_name()).with_extension("json");
    fs::write(&path, report.to_json()?).with_context(|| format!("writing {}", path.display()))?;
    println!("{report}");
    eprintln!("written to {}", path.display());
    Ok(())
}

fn progress(what: &str) {
    eprintln!("{what}");
}
