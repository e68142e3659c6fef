//! `cargo xtask bench`: what the product costs, measured beside its peers on this machine in the same run.

mod capture;
mod dataset;
mod guest_writes;
mod images;
mod process;
mod random;
mod replication;
mod report;
mod sample;
mod snapshots;
mod vault;
mod vault_scale;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use replication::Part;
use testkit::{binary, packages, target::target_directory};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::cargo;

/// Which bench, and how thoroughly.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to measure.
    name: Name,
    /// Smaller disks and shorter windows: ends within 5 minutes.
    #[arg(long)]
    quick: bool,
    /// Measure this program instead of an optimised one that is built for it.
    #[arg(long, value_name = "PATH", conflicts_with = "scale")]
    binary: Option<PathBuf>,
    /// Of the vault: what grows with it, in one that looks as if it held terabytes.
    #[arg(long, conflicts_with = "quick")]
    scale: bool,
    /// Chunks in that vault.
    #[arg(long, requires = "scale", default_value_t = 10_000_000)]
    chunks: u64,
    /// Of the replication: only this part; may be given more than once.
    #[arg(long = "part", value_name = "PART")]
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    /// Backups and restores of a running VM: throughput, bytes read, and what they cost the guest.
    Capture,
    /// VMs booted from recovery points, disks over NBD, files out of large disks.
    Images,
    /// What replication costs a guest, how little would be lost, and how fast a replica is used.
    Replication,
    /// How fast managed snapshots are made, what they take, and what they cost a guest.
    Snapshots,
    /// Full backups, comparisons, restores, verification and garbage collection of a vault, and what it stores.
    Vault,
}

/// Measures, prints a table to standard output and writes `bench/NAME.json` into the target directory.
pub fn run(arguments: &Arguments) -> Result<()> {
    let results = target_directory()?.join("bench");
    fs::create_dir_all(&results)?;
    ensure!(
        !arguments.scale || matches!(arguments.name, Name::Vault),
        "only the bench of vaults has a scale"
    );
    ensure!(
        arguments.parts.is_empty() || matches!(arguments.name, Name::Replication),
        "only the bench of replication has parts"
    );
    let binary = if arguments.scale {
        progress("building an optimised vault");
        let build = ["build", "--release", "--package", "vault", "--features", "scale", "--bin", "scale"];
        cargo::run(&build)?;
        target_directory()?.join("release/scale")
    } else if let Some(binary) = &arguments.binary {
        binary.canonicalize().with_context(|| format!("looking for {}", binary.display()))?
    } else {
        packages::install_missing()?;
        progress("building an optimised holdfast");
        binary::holdfast_optimised()?
    };
    let runtime = Runtime::new().context("starting the runtime")?;
    let report = runtime.block_on(async {
        // Whatever ends the bench, its values are dropped: VMs and server die, and its files are removed.
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let measured = async {
            match arguments.name {
                Name::Capture => capture::measure(&binary, arguments.quick, &results).await,
                Name::Images => images::measure(&binary, arguments.quick, &results).await,
                Name::Replication => {
                    replication::measure(&binary, arguments.quick, &arguments.parts, &results).await
                }
                Name::Snapshots => snapshots::measure(&binary, arguments.quick, &results).await,
                Name::Vault if arguments.scale => {
                    vault_scale::measure(&binary, arguments.chunks, &results).await
                }
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
    let file = format!("{}{}", name.get_name(), if arguments.scale { "-scale" } else { "" });
    let path = results.join(file).with_extension("json");
    fs::write(&path, report.to_json()?).with_context(|| format!("writing {}", path.display()))?;
    println!("{report}");
    eprintln!("written to {}", path.display());
    Ok(())
}

fn progress(what: &str) {
    eprintln!("{what}");
}
