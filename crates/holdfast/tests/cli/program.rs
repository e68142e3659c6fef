//! Running the built program.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    pub exit: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program for the site with this data directory, with no terminal and nothing of the tester's environment.
pub fn holdfast(data_directory: &Path) -> Command {
    // A session of its own has no terminal to ask anything on. No group's leader, setsid becomes the program.
    let mut command = Command::new("setsid");
    command.arg(env!("CARGO_BIN_EXE_holdfast")).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.arg("--data-dir").arg(data_directory).stdin(Stdio::null());
    command
}

/// Runs a command of the program to its end.
pub fn run(data_directory: &Path, arguments: &[&str]) -> Run {
    run_command(holdfast(data_directory).args(arguments))
}

/// The same with environment variables.
pub fn run_with(data_directory: &Path, arguments: &[&str], variables: &[(&str, &OsStr)]) -> Run {
    run_command(holdfast(data_directory).args(arguments).envs(variables.iter().copied()))
}

fn run_command(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    Run {
        exit: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Sends a signal to the program.
pub fn send(signal: Signal, program: &Child) {
    let process = i32::try_from(program.id()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(process, signal).unwrap();
}
