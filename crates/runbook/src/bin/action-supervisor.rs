//! The supervisor as a program of its own, for this crate's tests. Users run it as a hidden subcommand of `holdfast`.

use std::process::ExitCode;

fn main() -> ExitCode {
    runbook::supervise()
}
