//! The command behind `cargo xtask fuzz`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use fuzz::{Corpus, CountingAllocator, Finding, Fuzzer, Target, check, shrink, targets};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Gives mutated bytes to the decoders of foreign bytes, and says when one panics or takes too much memory.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask fuzz", max_term_width = 100)]
struct Arguments {
    /// Only this decoder, or those whose names start so.
    target: Option<String>,
    /// For how long each decoder is fuzzed.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// What the mutations follow from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Gives the bytes of this file to the decoder, and nothing else.
    #[arg(long, requires = "target")]
    replay: Option<PathBuf>,
    /// Where inputs are kept from run to run.
    #[arg(long, default_value = "target/fuzz")]
    corpus: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut targets = targets()?;
    if let Some(name) = &arguments.target {
        targets.retain(|target| target.name.starts_with(name.as_str()));
        if targets.is_empty() {
            let names: Vec<String> = fuzz::targets()?.into_iter().map(|target| target.name).collect();
            bail!("there is no decoder {name}; there are: {}", names.join(", "));
        }
    }
    match &arguments.replay {
        Some(file) => replay(&targets, file),
        None => targets.iter().try_for_each(|target| fuzz(target, arguments)),
    }
}

fn replay(targets: &[Target], file: &Path) -> Result<()> {
    let input = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    for target in targets {
        match check(target, &input) {
            Ok((Ok(()), memory_bytes)) => println!("{}: accepted, {memory_bytes} bytes", target.name),
            Ok((Err(why), memory_bytes)) => println!("{}: {why}, {memory_bytes} bytes", target.name),
            Err(what) => bail!("{}: {what}", target.name),
        }
    }
    Ok(())
}

fn fuzz(target: &Target, arguments: &Arguments) -> Result<()> {
    let corpus = Corpus::open(&arguments.corpus, &target.name)?;
    let mut fuzzer = Fuzzer::new(target, corpus.inputs()?, arguments.seed);
    // Named before it begins: one that aborts has no other way to say which it was.
    print!("{:<20}", target.name);
    std::io::Write::flush(&mut std::io::stdout())?;
    let until = Instant::now() + Duration::from_secs(arguments.seconds);
    while Instant::now() < until {
        let input = fuzzer.next_input();
        corpus.begin(&input)?;
        match fuzzer.try_input(&input) {
            Ok(true) => corpus.keep(&input)?,
            Ok(false) => {}
            Err(Finding { what, input }) => {
                println!();
                let file = corpus.keep_failure(&shrink(target, input))?;
                let name = &target.name;
                bail!("{name}: {what}\nreplay: cargo xtask fuzz {name} --replay {}", file.display());
            }
        }
    }
    let report = fuzzer.report();
    println!(
        "{:>9} inputs, {:>8} accepted, {:>4} answers, {:>8} bytes of memory at most",
        report.runs, report.accepted, report.answers, report.memory_bytes_max
    );
    Ok(())
}
