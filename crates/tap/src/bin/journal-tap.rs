//! The tap as a program of its own, for this crate's tests. Users run it as a hidden subcommand of `holdfast`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    tap::run(&arguments)
}
