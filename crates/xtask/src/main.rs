//! Automation of the repository: `cargo xtask --help`.

mod bench;
mod cargo;
mod check;
mod ci;
mod demo;
mod fuzz;
mod sim;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Automation of this repository.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Protects a real guest, backs it up twice, destroys it, restores it and checks that nothing is lost.
    ///
    /// Installs the system packages that it needs, and leaves nothing else behind. Takes about two minutes without KVM.
    Demo {
        /// Show site recovery: two sites, a drill, the loss of one of them, and the way back.
        #[arg(long, conflicts_with = "plan")]
        site_recovery: bool,
        /// Show a recovery plan: an application of three VMs is tried out, lost with its site, recovered, and brought back.
        ///
        /// Its guests talk to one another, in a network namespace of their own: that needs root, or user namespaces.
        #[arg(long)]
        plan: bool,
    },
    /// Runs all tests, those on real QEMU guests included; installs the system packages that they need.
    Test {
        /// Run only the tests whose names contain this.
        filter: Option<String>,
    },
    /// Runs simulated worlds, each of which follows from a seed; prints the first that breaks a rule, and how to replay it.
    #[command(disable_help_flag = true)]
    Sim {
        /// The world, and what to do with it: `cargo xtask sim --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Gives mutated bytes to every decoder of foreign bytes; keeps the input at which one fails, and says how to replay it.
    #[command(disable_help_flag = true)]
    Fuzz {
        /// The decoder, and for how long: `cargo xtask fuzz --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Holds the crates against ARCHITECTURE.md, and the files against the rules for sizes and names.
    Check,
    /// Measures what the product costs, beside its peers, and writes `bench/NAME.json` into the target directory.
    Bench(bench::Arguments),
    /// Everything that must hold before a change is accepted: format, lints, licences, `check`, `test`.
    Ci,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Demo { plan: true, .. } => demo::run(demo::Story::Plan),
        Command::Demo { site_recovery: true, .. } => demo::run(demo::Story::SiteRecovery),
        Command::Demo { .. } => demo::run(demo::Story::Backup),
        Command::Test { filter } => test::run(filter.as_deref()),
        Command::Sim { arguments } => sim::run(&arguments),
        Command::Fuzz { arguments } => fuzz::run(&arguments),
        Command::Check => check::run(),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Ci => ci::run(),
    }
}
