//! The command behind `cargo xtask sim`.

use std::{process::ExitCode, time::Instant};

use clap::{Parser, Subcommand};
use sim::{Broken, Outcome, first_failure, journal, run_seed, sites};

#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask sim", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    world: WorldName,
}

#[derive(Debug, Subcommand)]
enum WorldName {
    /// Servers that back up, restore, delete and clean up in one vault at the same time.
    Vault {
        /// How many seeds to run.
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// The first of many.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Only this seed, with the last events.
        #[arg(long, conflicts_with_all = ["seeds", "from"])]
        seed: Option<u64>,
        /// Breaks something on purpose, to see that it is noticed.
        #[arg(long)]
        broken: Option<Broken>,
        /// How many of the last events are shown.
        #[arg(long, default_value_t = 60)]
        last: usize,
    },
    /// A guest whose writes are journaled and shipped, while both hosts crash and fill up.
    Journal {
        /// How many seeds to run.
        #[arg(long, default_value_t = 2000)]
        seeds: u64,
        /// The first of many.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Only this seed, with the last events.
        #[arg(long, conflicts_with_all = ["seeds", "from"])]
        seed: Option<u64>,
        /// Breaks something on purpose, to see that it is noticed.
        #[arg(long)]
        broken: Option<journal::Broken>,
        /// How many of the last events are shown.
        #[arg(long, default_value_t = 60)]
        last: usize,
    },
    /// Two sites that replicate a VM to one another and fail it over, while everything between them and in them fails.
    Sites {
        /// How many seeds to run.
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// The first of many.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Only this seed, with the last events.
        #[arg(long, conflicts_with_all = ["seeds", "from"])]
        seed: Option<u64>,
        /// Breaks something on purpose, to see that it is noticed.
        #[arg(long)]
        broken: Option<sites::Broken>,
        /// How many of the last events are shown.
        #[arg(long, default_value_t = 60)]
        last: usize,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().world {
        WorldName::Vault { seeds, from, seed, broken, last } => {
            let named = broken.map(|broken| format!(" --broken {broken}")).unwrap_or_default();
            let many = || first_failure(from..from.saturating_add(seeds), broken);
            run(&format!("vault --seed SEED{named}"), seed, last, |seed| run_seed(seed, broken), many)
        }
        WorldName::Journal { seeds, from, seed, broken, last } => {
            let named = broken.map(|broken| format!(" --broken {broken}")).unwrap_or_default();
            let many = || journal::first_failure(from..from.saturating_add(seeds), broken);
            run(
                &format!("journal --seed SEED{named}"),
                seed,
                last,
                |seed| journal::run_seed(seed, broken),
                many,
            )
        }
        WorldName::Sites { seeds, from, seed, broken, last } => {
            let named = broken.map(|broken| format!(" --broken {broken}")).unwrap_or_default();
            let many = || sites::first_failure(from..from.saturating_add(seeds), broken);
            run(&format!("sites --seed SEED{named}"), seed, last, |seed| sites::run_seed(seed, broken), many)
        }
    }
}

/// Runs one seed, or many; `replay` are the arguments that run one again.
fn run(
    replay: &str,
    seed: Option<u64>,
    last: usize,
    one: impl FnOnce(u64) -> Outcome,
    many: impl FnOnce() -> (Option<Outcome>, u64),
) -> ExitCode {
    let started = Instant::now();
    let (failure, count) = match seed {
        Some(seed) => {
            let outcome = one(seed);
            show_events(&outcome, last);
            println!("seed {seed}: {} events, digest {:016x}", outcome.event_count, outcome.digest);
            (outcome.violation.is_some().then_some(outcome), 1)
        }
        None => many(),
    };
    let took = started.elapsed().as_secs_f64();
    match failure {
        Some(outcome) => {
            println!("seed {}: {}", outcome.seed, outcome.violation.unwrap_or_default());
            println!("replay: cargo xtask sim {}", replay.replace("SEED", &outcome.seed.to_string()));
            ExitCode::FAILURE
        }
        None => {
            println!("{count} seeds, no rule broken, {took:.1} s");
            ExitCode::SUCCESS
        }
    }
}

fn show_events(outcome: &Outcome, last: usize) {
    let skipped = outcome.last_events.len().saturating_sub(last);
    for event in outcome.last_events.iter().skip(skipped) {
        println!("{event}");
    }
}
