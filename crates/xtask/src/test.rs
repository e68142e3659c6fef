//! `cargo xtask test`: runs every test there is and counts them.

mod count;

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use testkit::packages;

use crate::cargo::{self, cargo};
use count::Count;

/// Runs all tests, or those whose names contain the filter. The last line on standard output counts them.
pub fn run(filter: Option<&str>) -> Result<()> {
    packages::install_missing()?;
    // Tests start the binary, and Cargo builds it for nobody but its own crate's tests.
    let binary = testkit::binary::holdfast()?;

    let mut runs = if cargo::has_subcommand("nextest") {
        let mut main = cargo();
        main.args(["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests=pass"]);
        let mut documentation = cargo();
        documentation.args(["test", "--doc", "--workspace", "--no-fail-fast", "--quiet", "--"]);
        vec![main, documentation]
    } else {
        let mut everything = cargo();
        everything.args(["test", "--workspace", "--no-fail-fast", "--"]);
        vec![everything]
    };
    let mut total = Count::default();
    for command in &mut runs {
        let (count, ran_well) = run_and_count(command.args(filter).env("HOLDFAST_BINARY", &binary))?;
        ensure!(ran_well || count.failed > 0, "the tests could not be built or run");
        total += count;
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    ensure!(total.failed == 0, "tests failed");
    ensure!(total.passed > 0 || filter.is_some(), "there are no tests");
    Ok(())
}

/// Runs a test command, passes its output on and counts by it; returns the count and whether the command succeeded.
fn run_and_count(command: &mut Command) -> Result<(Count, bool)> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("running {command:?}"))?;
    let stdout = child.stdout.take().context("no standard output")?;
    let stderr = child.stderr.take().context("no standard error")?;
    // cargo test counts on its standard output, nextest on its standard error.
    let errors = thread::spawn(move || pass_on(stderr, std::io::stderr()));
    let mut count = pass_on(stdout, std::io::stdout())?;
    count += errors.join().map_err(|_| anyhow::anyhow!("the reader of standard error panicked"))??;
    Ok((count, child.wait()?.success()))
}

fn pass_on(source: impl Read, mut target: impl Write) -> Result<Count> {
    let mut count = Count::default();
    let mut source = BufReader::new(source);
    let mut line = Vec::new();
    while source.read_until(b'\n', &mut line)? > 0 {
        target.write_all(&line)?;
        target.flush()?;
        count += Count::of_line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(count)
}
